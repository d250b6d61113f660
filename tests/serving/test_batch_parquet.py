"""Parquet in and out: the same scores as from CSV, however the columns are stored."""

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from churn_serving.batch.run import Summary, score_files
from churn_serving.errors import DataError

COLUMNS = ["account", "age", "balance", "plan", "newsletter", "visits", "region"]
BAD = {3: "visits", 41: "balance", 77: "newsletter"}
"""Rows of the shop that are spoilt, from 0, and in which column."""


@pytest.fixture(scope="module")
def customers(shop_csv: Path) -> pa.Table:
    """The shop's customers, each column of its own type, some of them spoilt."""
    with shop_csv.open(newline="") as file:
        rows = list(csv.DictReader(file))
    typed = {
        "account": pa.array([int(row["account"]) for row in rows]),
        "age": pa.array([float(row["age"]) if row["age"] else None for row in rows], pa.float32()),
        "balance": pa.array([float(row["balance"]) for row in rows]),
        "plan": pa.array([row["plan"] or None for row in rows]).dictionary_encode(),
        "newsletter": pa.array([row["newsletter"] == "True" for row in rows]),
        "visits": pa.array([int(row["visits"]) for row in rows], pa.int16()),
        "region": pa.array([row["region"] for row in rows], pa.large_string()),
    }
    for row, name in BAD.items():
        values = typed[name].to_pylist()
        values[row] = float("inf") if name == "balance" else None
        typed[name] = pa.array(values, typed[name].type)
    return pa.table(typed)


def write_csv(table: pa.Table, path: Path) -> None:
    with path.open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(table.column_names)
        for row in table.to_pylist():
            write.writerow(["" if value is None else value for value in row.values()])


def score(shop: Path, source: Path, target: Path) -> Summary:
    return score_files(shop, str(source), str(target), workers=1)


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    return [
        {
            "account": int(row["account"]),
            "probability": float(row["probability"]),
            "churn": row["churn"] == "true",
        }
        for row in csv.DictReader(path.read_text().splitlines())
    ]


@pytest.mark.parametrize("group_rows", [64, 1000])
def test_parquet_is_scored_like_csv(shop: Path, customers: pa.Table, tmp_path: Path, group_rows: int):
    write_csv(customers, tmp_path / "in.csv")
    pq.write_table(customers, tmp_path / "in.parquet", row_group_size=group_rows)
    for form in ("csv", "parquet"):
        summary = score(shop, tmp_path / f"in.{form}", tmp_path / f"from-{form}.parquet")
        assert (summary.scored, summary.rejected) == (len(customers) - len(BAD), len(BAD))
    from_csv = pq.read_table(tmp_path / "from-csv.parquet")
    from_parquet = pq.read_table(tmp_path / "from-parquet.parquet")
    assert from_parquet.schema.types == [pa.int64(), pa.float64(), pa.bool_()]
    assert from_csv["account"].to_pylist() == list(map(str, from_parquet["account"].to_pylist()))
    assert from_csv["churn"] == from_parquet["churn"]
    assert from_csv["probability"].to_pylist() == pytest.approx(
        from_parquet["probability"].to_pylist(), abs=1e-6
    )


def test_rejected_rows_are_named_by_their_number_in_the_file(shop: Path, customers: pa.Table, tmp_path: Path):
    pq.write_table(customers, tmp_path / "in.parquet", row_group_size=50)
    score(shop, tmp_path / "in.parquet", tmp_path / "out.parquet")
    rejected = list(csv.DictReader((tmp_path / "out.rejected.csv").read_text().splitlines()))
    assert [(int(row["line"]), row["reason"].split(":")[0]) for row in rejected] == [
        (row + 1, name) for row, name in BAD.items()
    ]
    assert rejected[0]["reason"] == "visits: must not be empty: no value was missing in training"


def test_the_name_of_the_output_decides_its_form(shop: Path, customers: pa.Table, tmp_path: Path):
    pq.write_table(customers, tmp_path / "in.parquet")
    for name in ("out.parquet", "out.csv"):
        score(shop, tmp_path / "in.parquet", tmp_path / name)
    assert rows_of(tmp_path / "out.csv") == rows_of(tmp_path / "out.parquet")


def test_texts_are_read_as_the_cells_of_a_csv_file(shop: Path, customers: pa.Table, tmp_path: Path):
    pq.write_table(customers, tmp_path / "typed.parquet")
    texts = {name: [None if v is None else str(v) for v in customers[name].to_pylist()] for name in COLUMNS}
    pq.write_table(pa.table(texts), tmp_path / "texts.parquet")
    for name in ("typed", "texts"):
        score(shop, tmp_path / f"{name}.parquet", tmp_path / f"{name}.csv")
    assert rows_of(tmp_path / "texts.csv") == rows_of(tmp_path / "typed.csv")


def test_without_the_id_column_the_row_stands_for_it(shop: Path, customers: pa.Table, tmp_path: Path):
    pq.write_table(customers.drop_columns("account"), tmp_path / "in.parquet", row_group_size=100)
    summary = score(shop, tmp_path / "in.parquet", tmp_path / "out.parquet")
    expected = [row + 1 for row in range(len(customers)) if row not in BAD]
    assert pq.read_table(tmp_path / "out.parquet")["line"].to_pylist() == expected
    assert "its line stands for the id" in summary.warnings[0]


def test_a_file_without_rows_gives_one_without_rows(shop: Path, customers: pa.Table, tmp_path: Path):
    pq.write_table(customers.slice(0, 0), tmp_path / "in.parquet")
    assert score(shop, tmp_path / "in.parquet", tmp_path / "out.parquet").scored == 0
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["account", "probability", "churn"]


def test_what_is_no_parquet_file_is_named(shop: Path, tmp_path: Path):
    (tmp_path / "in.parquet").write_text("account,age\n1,2\n")
    with pytest.raises(DataError, match=r"in\.parquet is no Parquet file"):
        score(shop, tmp_path / "in.parquet", tmp_path / "out.parquet")


def test_a_missing_column_is_named(shop: Path, customers: pa.Table, tmp_path: Path):
    pq.write_table(customers.drop_columns(["plan", "visits"]), tmp_path / "in.parquet")
    with pytest.raises(DataError, match="lacks columns of the model: plan, visits"):
        score(shop, tmp_path / "in.parquet", tmp_path / "out.parquet")


def test_a_long_row_group_is_cut_and_gone_on_with_anywhere(customers: pa.Table):
    from churn_serving.batch.parquet import cut_parquet

    whole = list(cut_parquet([3_000_000, 5], skip=0))
    assert sum(rows.number for rows in whole) == 3_000_005
    assert max(rows.number for rows in whole) < 3_000_000
    for skip in (0, 1, 1 << 20, 2_999_999, 3_000_000, 3_000_004, 3_000_005):
        rest = list(cut_parquet([3_000_000, 5], skip=skip))
        assert [row for rows in rest for row in (rows.first, rows.first + rows.number - 1)][:1] in (
            [skip + 1],
            [],
        )
        assert sum(rows.number for rows in rest) == 3_000_005 - skip
