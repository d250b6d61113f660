"""Scores in Parquet grow: the file is whole whenever it is settled, and can be gone on with."""

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet as pq

from churn_serving.batch.output import Output, begin_output, go_on_with
from churn_serving.batch.parquet_output import batch_of
from churn_serving.batch.places import LocalFile
from churn_serving.batch.source import Form, Layout

ROWS = 300


@pytest.fixture
def layout() -> Layout:
    return Layout(LocalFile(Path("in.csv")), Form.CSV, Form.PARQUET, ["id"], "id", numbered=True)


def add(output: Output, layout: Layout, first: int) -> None:
    ids = list(range(first, first + ROWS))
    output.write(batch_of(layout, ids, np.array(ids) / 10_000, np.array(ids) % 2 == 0))


def ids(path: Path) -> list[int]:
    found: list[int] = pq.read_table(path)["id"].to_pylist()
    return found


def test_the_file_is_whole_whenever_it_is_settled(layout: Layout, tmp_path: Path):
    with (tmp_path / "out.parquet").open("a+b") as file:
        output = begin_output(layout, file)
        output.settle()
        file.flush()
        assert ids(tmp_path / "out.parquet") == []
        for part in range(4):
            add(output, layout, part * ROWS)
            output.settle()
            file.flush()
            assert ids(tmp_path / "out.parquet") == list(range((part + 1) * ROWS))
    scores = pq.read_table(tmp_path / "out.parquet")
    assert scores["probability"].to_pylist() == [row / 10_000 for row in range(4 * ROWS)]


def test_what_was_written_after_it_was_settled_can_be_cut_off_and_written_again(
    layout: Layout, tmp_path: Path
):
    with (tmp_path / "out.parquet").open("a+b") as file:
        output = begin_output(layout, file)
        for part in range(3):
            add(output, layout, part * ROWS)
            output.settle()
            if part == 1:
                kept = file.tell()
    with (tmp_path / "out.parquet").open("a+b") as file:
        file.truncate(kept)
        file.seek(kept)
        resumed = go_on_with(layout, file)
        assert resumed is not None
        for first in (2 * ROWS, 3 * ROWS):
            add(resumed, layout, first)
        resumed.settle()
    assert ids(tmp_path / "out.parquet") == list(range(4 * ROWS))


def test_what_holds_no_scores_is_not_gone_on_with(layout: Layout, tmp_path: Path):
    (tmp_path / "out.parquet").write_bytes(b"half a file")
    with (tmp_path / "out.parquet").open("a+b") as file:
        assert go_on_with(layout, file) is None
