"""Cuts a text file at the ends of rows, without parsing more than it takes to see where they are."""

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from churn_serving.batch.places import Place
from churn_serving.csvfile import MAX_CELL, check_header
from churn_serving.errors import DataError

_BLOCK = 1 << 20
_MAX_ROW = 16 << 20  # bytes; where no row ends in so many, none will


class Mark(NamedTuple):
    """A place in a file: its byte, or nearly, and its line or row, from 1."""

    offset: int
    line: int


class Lines(NamedTuple):
    """Whole rows as they stand, and the number of their first line, from 1."""

    text: bytes
    first: int


def read_header(place: Place, file: BinaryIO) -> tuple[list[str], Mark]:
    """The first row's names and where the second begins.

    Raises:
        DataError: It is missing, or is no header.
    """
    csv.field_size_limit(MAX_CELL)
    block = file.read(_BLOCK)
    read = len(codecs.BOM_UTF8) if block.startswith(codecs.BOM_UTF8) else 0

    def lines() -> Iterator[str]:
        nonlocal read
        for line in _lines(block[read:]):
            read += len(line)
            yield line.encode("latin-1").decode()

    reader = csv.reader(lines(), strict=True)
    try:
        cells = next((cells for cells in reader if cells), None)
    except csv.Error as error:
        raise DataError(f"{place} is no CSV: {error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{place} is not UTF-8; convert it: iconv -f latin1 -t utf-8 {place.name}") from None
    if cells is None:
        raise DataError(f"{place} is empty; its first line must name the columns")
    header = [name.strip() for name in cells]
    check_header(str(place), header)
    return header, Mark(read, reader.line_num + 1)


def cut_csv(file: BinaryIO, mark: Mark) -> Iterator[tuple[Lines, Mark]]:
    """Blocks of rows from `mark` on. What is no CSV is handed on, for its parser to say so."""
    return _cut(file, mark, _end_of_csv_rows)


def cut_ndjson(place: Place, file: BinaryIO, mark: Mark) -> Iterator[tuple[Lines, Mark]]:
    """Blocks of lines from `mark` on.

    Raises:
        DataError: A line is longer than 16 MiB.
    """
    for lines, after in _cut(file, mark, _end_of_lines):
        if len(lines.text) > _MAX_ROW and _end_of_lines(lines.text) == 0:
            raise DataError(f"{place}, line {lines.first} is longer than a customer can be")
        yield lines, after


def _cut(file: BinaryIO, mark: Mark, end_of_rows: Callable[[bytes], int]) -> Iterator[tuple[Lines, Mark]]:
    file.seek(mark.offset)
    offset, line = mark
    rest = b""
    while block := file.read(_BLOCK):
        rest += block
        end = end_of_rows(rest)
        if end == 0:
            if len(rest) <= _MAX_ROW:
                continue
            end = len(rest)
        text, rest = rest[:end], rest[end:]
        offset, next_line = offset + end, line + _count_lines(text)
        yield Lines(text, line), Mark(offset, next_line)
        line = next_line
    if rest:
        yield Lines(rest, line), Mark(offset + len(rest), line + _count_lines(rest))


def _count_lines(text: bytes) -> int:
    ends = text.count(b"\n")
    return ends + text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else ends


def _lines(text: bytes) -> Iterator[str]:
    r"""A character a byte. Lines end in `\n`, `\r\n` or `\r`."""
    return iter(io.StringIO(text.decode("latin-1"), newline=""))


def _end_of_lines(block: bytes) -> int:
    r"""The last, but no `\r` at the very end: what follows may belong to it."""
    return max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1


def _end_of_csv_rows(block: bytes) -> int:
    end = _end_of_lines(block)
    if b'"' not in block:
        return end
    read = whole = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for line in _lines(block[:end]):
            read += len(line)
            yield line

    csv.field_size_limit(MAX_CELL)
    with suppress(csv.Error):  # the last row goes on in the next block, or its parser says what is wrong
        for _ in csv.reader(lines(), strict=True):
            whole = read
    return whole
