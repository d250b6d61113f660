"""Reads a file of customers as chunks of raw rows: CSV or NDJSON."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from churn_serving.bundle.schema import Manifest
from churn_serving.csvfile import MalformedRow, Row, read_customers
from churn_serving.errors import DataError

CHUNK_ROWS = 4096
_MAX_LINE = 1 << 20


class Form(StrEnum):
    """How a file is written."""

    CSV = "csv"
    NDJSON = "ndjson"


SUFFIXES = {".csv": Form.CSV, ".ndjson": Form.NDJSON, ".jsonl": Form.NDJSON}


class Line(NamedTuple):
    """A line of an NDJSON file, as it stands; lines count from 1."""

    line: int
    text: bytes


RawRow = Row | MalformedRow | Line


@dataclass(frozen=True)
class Source:
    """An opened file.

    Attributes:
        header: A CSV file's columns; None for NDJSON.
        position: How many of the file's bytes are read so far.
    """

    header: list[str] | None
    rows: Iterator[RawRow]
    position: Callable[[], int]
    warnings: list[str]

    def chunks(self, *, skip: int) -> Iterator[list[RawRow]]:
        """The rows after the first `skip`, some thousand at a time."""
        rows = islice(self.rows, skip, None)
        while chunk := list(islice(rows, CHUNK_ROWS)):
            yield chunk


def open_source(path: Path, manifest: Manifest) -> Source:
    """Open a file by its suffix; what is neither CSV nor NDJSON by name is read as CSV.

    Raises:
        DataError: It cannot be read or lacks the model's columns. While rows are read too.
    """
    if SUFFIXES.get(path.suffix.lower()) is Form.NDJSON:
        try:
            file = path.open("rb")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        size = path.stat().st_size
        return Source(None, _lines(path, file), lambda: size if file.closed else file.tell(), [])
    customers = read_customers(path)
    warnings = _check_columns(manifest, customers.header)
    return Source(customers.header, customers.rows, customers.position, warnings)


def _lines(path: Path, file: BinaryIO) -> Iterator[Line]:
    with file:
        number = 0
        while text := file.readline(_MAX_LINE + 1):
            number += 1
            if len(text) > _MAX_LINE:
                raise DataError(f"{path}, line {number} is longer than a customer can be: 1 MiB")
            if text.strip():
                yield Line(number, text)


def _check_columns(manifest: Manifest, header: list[str]) -> list[str]:
    missing = [feature.name for feature in manifest.features if feature.name not in header]
    if missing:
        raise DataError(f"the file lacks columns of the model: {', '.join(missing)}")
    known = {feature.name for feature in manifest.features} | set(manifest.accepted)
    extra = [name for name in header if name not in known]
    if extra:
        raise DataError(f"the model has no such columns; take them out of the file: {', '.join(extra)}")
    if manifest.id is not None and manifest.id not in header:
        return [f"the file has no column {manifest.id!r}; its line stands for the id"]
    return []
