"""Files of customers are read from a real S3 server and written to it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet as pq

from churn_dev.stores import s3_store
from churn_serving.batch.run import score_files
from churn_serving.errors import DataError

from .conftest import SAMPLE, TELCO_CSV

ROWS = 7043


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder behind `s3://customers`; this process has its keys."""
    inputs = tmp_path / "s3" / "customers" / "in"
    (inputs / "2026").mkdir(parents=True)
    shutil.copy(TELCO_CSV, inputs / "a.csv")
    table = arrow_csv.read_csv(TELCO_CSV)
    totals = pa.compute.if_else(pa.compute.equal(table["TotalCharges"], " "), None, table["TotalCharges"])
    table = table.set_column(table.column_names.index("TotalCharges"), "TotalCharges", totals)
    pq.write_table(table, inputs / "2026" / "b.parquet", row_group_size=1000)
    (inputs / "notes.txt").write_text("no customers")
    with s3_store(tmp_path / "s3", "127.0.0.1") as settings:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield tmp_path / "s3" / "customers"


def test_a_prefix_is_scored_to_a_prefix_like_a_directory(bucket: Path, tmp_path: Path):
    summary = score_files(SAMPLE, "s3://customers/in", "s3://customers/out/", work=tmp_path / "work")
    assert (summary.files, summary.scored, summary.rejected) == (2, 2 * ROWS, 0)
    score_files(SAMPLE, str(TELCO_CSV), str(tmp_path / "here.csv"))
    assert (bucket / "out" / "a.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    table = pq.read_table(bucket / "out" / "2026" / "b.parquet")
    assert table["customerID"].to_pylist() == arrow_csv.read_csv(TELCO_CSV)["customerID"].to_pylist()
    assert sorted(path.name for path in (bucket / "out").rglob("*.*")) == ["a.csv", "b.parquet"]
    assert [path for path in (tmp_path / "work").rglob("*") if path.is_file()] == []


def test_patterns_and_single_files_are_found_and_may_be_written_here(bucket: Path, tmp_path: Path):
    score_files(SAMPLE, "s3://customers/in/*/*.parquet", str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.parquet"]
    score_files(SAMPLE, "s3://customers/in/a.csv", str(tmp_path / "a.parquet"))
    assert pq.read_metadata(tmp_path / "a.parquet").num_rows == ROWS


def test_rejected_rows_are_put_beside_the_output(bucket: Path, tmp_path: Path):
    header, first, *_ = TELCO_CSV.read_text().splitlines()
    (bucket / "in" / "bad.csv").write_text(f"{header}\n{first}\n{first.replace(',1,', ',often,')}\n")
    summary = score_files(SAMPLE, "s3://customers/in/bad.csv", "s3://customers/out/bad.csv")
    assert summary.rejected_paths == ["s3://customers/out/bad.rejected.csv"]
    assert (bucket / "out" / "bad.rejected.csv").read_text().splitlines()[1].startswith("3,tenure:")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("s3://customers/nothing", "s3://customers/out", "names no file"),
        ("s3://elsewhere/in", "s3://customers/out", "the store says"),
        ("s3://customers/in/a.csv", "s3://customers/in/a.csv", "overwrite"),
        ("s3://customers/in", "s3://elsewhere/out", "the store says"),
    ],
)
def test_what_a_store_cannot_give_or_take_is_said(bucket: Path, source: str, target: str, message: str):
    with pytest.raises(DataError, match=message):
        score_files(SAMPLE, source, target)


def test_wrong_keys_are_said(bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(DataError, match="the store"):
        score_files(SAMPLE, "s3://customers/in", str(tmp_path / "out"))
