"""Scores as they grow in a file, which is whole whenever it is settled: a killed run goes on from there."""

import csv
import io
from collections.abc import Iterable
from typing import Any, BinaryIO, Protocol

from churn_serving.batch.source import Form, Layout


class Output(Protocol):
    """A file of scores."""

    def write(self, scores: Any) -> None:
        """Append the `output` of a scored chunk."""

    def settle(self) -> None:
        """Bring all that was written into the file, which is whole then; more may follow."""


def begin_output(layout: Layout, file: BinaryIO) -> Output:
    """A new one in an empty `file`, which is appended to."""
    if layout.output is Form.PARQUET:
        from churn_serving.batch.parquet_output import ParquetOutput

        return ParquetOutput(layout, file)
    if layout.output is Form.CSV:
        file.write(rows_of_csv([(layout.id, "probability", "churn")]))
    return _TextOutput(file)


def go_on_with(layout: Layout, file: BinaryIO) -> Output | None:
    """The one that was settled last in `file`, which is at its end; None where that is not what it holds."""
    if layout.output is not Form.PARQUET:
        return _TextOutput(file)
    from churn_serving.batch.parquet_output import ParquetOutput, read_about

    about = read_about(file)
    return None if about is None else ParquetOutput(layout, file, about)


class _TextOutput:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, scores: bytes) -> None:
        self._file.write(scores)

    def settle(self) -> None:
        """Rows of text are whole as they are."""


def rows_of_csv(rows: Iterable[tuple[Any, ...]]) -> bytes:
    r"""Rows as they stand in a CSV file, UTF-8, each ended by `\n`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
