"""A file of customers is scored as the server would, and no row is lost."""

import csv
from pathlib import Path

import pytest

from churn_serving.errors import DataError
from churn_serving.model import Model, load_model
from churn_serving.score_file import score_file

from .conftest import TELCO_CSV

HEADER = "account,age,balance,plan,newsletter,visits,region"
GOOD = "A-1,30,50000000,basic,True,3,Zürich"


@pytest.fixture(scope="module")
def model(shop: Path) -> Model:
    return load_model(shop)


def score(model: Model, tmp_path: Path, *lines: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    summary = score_file(model, tmp_path / "in.csv", tmp_path / "out.csv", threshold=0.5)
    rejected = tmp_path / "out.rejected.csv"
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    refused = list(csv.DictReader(rejected.read_text().splitlines())) if rejected.exists() else []
    assert (summary.scored, summary.rejected) == (len(rows), len(refused))
    return rows, refused


def test_each_customer_gets_id_probability_and_churn(model: Model, tmp_path: Path):
    (row,), refused = score(model, tmp_path, HEADER, GOOD)
    expected = model.scorer.probabilities
    record = {
        "age": 30.0,
        "balance": 5e7,
        "plan": "basic",
        "newsletter": True,
        "visits": 3.0,
        "region": "Zürich",
    }
    from churn_serving.features import to_matrix

    probability = expected(to_matrix(model.encoder.encode([record]).rows, 6))[0]
    assert float(row["probability"]) == pytest.approx(probability, abs=1e-6)
    assert (row["account"], row["churn"]) == ("A-1", "true" if probability >= 0.5 else "false")
    assert refused == []


def test_rows_that_cannot_be_scored_are_named_by_line_and_the_others_are_scored(model: Model, tmp_path: Path):
    rows, refused = score(
        model,
        tmp_path,
        HEADER,
        GOOD,
        "A-2,thirty,50000000,basic,True,3,Zürich",
        "A-3,30,50000000,basic,True,3",
        'A-4,30,50000000,"pro, yearly",maybe,,Zürich',
        "A-5,,50000000,,False,99,Nowhere",
    )
    assert [row["account"] for row in rows] == ["A-1", "A-5"]
    assert [(row["line"], row["reason"].split(":")[0]) for row in refused] == [
        ("3", "age"),
        ("4", "has 6 cells, the header 7"),
        ("5", "newsletter"),
    ]


def test_rejected_rows_of_an_earlier_run_do_not_stay(model: Model, tmp_path: Path):
    score(model, tmp_path, HEADER, "A-2,thirty,50000000,basic,True,3,Zürich")
    _, refused = score(model, tmp_path, HEADER, GOOD)
    assert refused == []


def test_without_the_id_column_the_line_stands_for_it(model: Model, tmp_path: Path):
    (row,), _ = score(model, tmp_path, HEADER.removeprefix("account,"), GOOD.removeprefix("A-1,"))
    assert row["line"] == "2"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("account,age", "lacks columns of the model: balance, plan"),
        (HEADER + ",colour", "no such columns.*colour"),
    ],
)
def test_wrong_columns_are_named_before_anything_is_written(
    model: Model, tmp_path: Path, header: str, message: str
):
    with pytest.raises(DataError, match=message):
        score(model, tmp_path, header, GOOD)
    assert not (tmp_path / "out.csv").exists()


def test_the_training_file_itself_can_be_scored(telco_model: Model, tmp_path: Path):
    """It has the id and the target; every one of its rows comes back."""
    summary = score_file(telco_model, TELCO_CSV, tmp_path / "out.csv", threshold=0.5)
    assert (summary.scored, summary.rejected) == (7043, 0)


def test_a_failure_leaves_no_half_written_file(model: Model, tmp_path: Path):
    (tmp_path / "in.csv").write_bytes(f"{HEADER}\n{GOOD}\n".encode() + b"A-2,\xff,1,1,1,1,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        score_file(model, tmp_path / "in.csv", tmp_path / "out.csv", threshold=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
