"""Reads a CSV file of customers as text, or says in one sentence what is wrong with it."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from churn_serving.errors import DataError

MAX_CELL = 1 << 20
"""Characters; an unclosed quote would swallow the rest of the file."""


class Row(NamedTuple):
    """One customer: the line of the file on which it ends, from 1, and a cell per column."""

    line: int
    cells: list[str]


class MalformedRow(NamedTuple):
    """A row that has more or fewer cells than the header."""

    line: int
    message: str


class Customers(NamedTuple):
    """A file's header and its rows, read as they are asked for."""

    header: list[str]
    rows: Iterator[Row | MalformedRow]


def read_customers(path: Path) -> Customers:
    """Open the file and check its header.

    Raises:
        DataError: It is missing, empty, not UTF-8, not separated by commas, or names a column twice. While
            the rows are read too, where the text stops being UTF-8.
    """
    rows = _read(path)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path} is empty; its first line must name the columns")
    header = [name.strip() for name in first.cells]
    check_header(path, header)
    return Customers(header, _fit(rows, len(header)))


def _read(path: Path) -> Iterator[Row]:
    csv.field_size_limit(MAX_CELL)
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                line = reader.line_num
                if cells:
                    yield Row(line, cells)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is not UTF-8 after line {line}; convert it: iconv -f latin1 -t utf-8 {path.name}"
        ) from None
    except csv.Error as error:
        raise DataError(f"{path} is no CSV after line {line}: {error}") from None


def check_header(path: Path | str, header: list[str]) -> None:
    """Raise DataError where columns are not separated by commas, unnamed or named twice."""
    if len(header) == 1:
        for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if delimiter in header[0]:
                raise DataError(f"{path} is separated by {name}; write it with commas")
    unnamed = [position for position, name in enumerate(header, start=1) if not name]
    if unnamed:
        raise DataError(f"{path}: column {unnamed[0]} has no name in the first line")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{path} names these columns twice: {', '.join(repeated)}")


def _fit(rows: Iterator[Row], width: int) -> Iterator[Row | MalformedRow]:
    for row in rows:
        if len(row.cells) == width:
            yield row
        else:
            yield MalformedRow(row.line, f"has {len(row.cells)} cells, the header {width}")
