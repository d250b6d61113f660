"""Columns out of Arrow's messages, by NumPy: every length and position that a message claims is checked.

Libraries that read this format in C trust it: changed bytes end the process. Types that a record cannot have
are not read.
"""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from flatbuffers import number_types
from flatbuffers.table import Table

from churn_serving.features import shown
from churn_serving.server.http import RequestError
from churn_serving.server.streams.arrow_wire import child_of, elements_of, metadata_of, number_of, text_of

BROKEN = (struct.error, ValueError, LookupError, TypeError, OverflowError, StopIteration)
"""What reading changed bytes raises."""
_FLOATS = ("<f2", "<f4", "<f8")
_PAIR = struct.Struct("<qq")

Dictionaries = Mapping[int, Sequence[Any]]


class Column(NamedTuple):
    """A column of a schema.

    Attributes:
        kind: `null`, `bool`, `text`, or a NumPy type of numbers.
        offsets: Of texts: the type of their positions.
        dictionary: The id of the dictionary whose positions the numbers are.
    """

    name: str
    kind: str
    offsets: str = ""
    dictionary: int | None = None


def read_schema(content: bytes) -> tuple[list[Column], dict[int, Column]]:
    """The columns, and of dictionaries by their id what they hold.

    Raises:
        RequestError: 422, a column has a type that no record has.
    """
    header, _ = metadata_of(content)
    if number_of(header, 0, number_types.Int16Flags):
        raise ValueError("big-endian")
    columns, dictionaries = [], {}
    for field in elements_of(header, 1):
        values = _column(field)
        encoding = child_of(field, 4)
        if encoding is None:
            columns.append(values)
            continue
        which = number_of(encoding, 0, number_types.Int64Flags)
        index = child_of(encoding, 1)
        dictionaries[which] = values
        columns.append(Column(values.name, "<i4" if index is None else _whole(index), dictionary=which))
    return columns, dictionaries


def read_batch(content: bytes, columns: Sequence[Column], dictionaries: Dictionaries) -> list[list[Any]]:
    """The values of each column; None where there is none."""
    batch, body = metadata_of(content)
    return _read(batch, body, columns, dictionaries)


def read_dictionary(content: bytes, values: Column) -> list[Any]:
    """A dictionary's values."""
    header, body = metadata_of(content)
    batch = child_of(header, 1)
    if batch is None:
        raise ValueError
    return _read(batch, body, [values], {})[0]


def _column(field: Table) -> Column:
    name = text_of(field, 0)
    kind, details = number_of(field, 2, number_types.Uint8Flags), child_of(field, 3)
    match kind:  # as Schema.fbs of the format numbers its types
        case 1:
            return Column(name, "null")
        case 2 if details is not None:
            return Column(name, _whole(details))
        case 3 if details is not None:
            return Column(name, _FLOATS[number_of(details, 0, number_types.Int16Flags)])
        case 5:
            return Column(name, "text", "<i4")
        case 6:
            return Column(name, "bool")
        case 20:
            return Column(name, "text", "<i8")
    message = f"column {shown(name)!r} has an Arrow type that is not read: numbers, booleans and utf8 are"
    raise RequestError(422, "invalid_records", message)


def _whole(details: Table) -> str:
    bits = number_of(details, 0, number_types.Int32Flags)
    if bits not in {8, 16, 32, 64}:
        raise ValueError
    return f"<{'i' if number_of(details, 1, number_types.BoolFlags) else 'u'}{bits // 8}"


def _read(
    batch: Table, body: memoryview, columns: Sequence[Column], dictionaries: Dictionaries
) -> list[list[Any]]:
    rows = number_of(batch, 0, number_types.Int64Flags)
    nodes, buffers = _pairs(batch, 1), _buffers(batch, body)
    read = []
    for column in columns:
        length, _ = next(nodes)
        if length != rows:
            raise ValueError
        read.append(_values(column, rows, buffers, dictionaries))
    return read


def _pairs(batch: Table, field: int) -> Iterator[tuple[int, int]]:
    offset = batch.Offset(4 + 2 * field)
    start, count = (batch.Vector(offset), batch.VectorLen(offset)) if offset else (0, 0)
    for at in range(count):
        yield _PAIR.unpack_from(batch.Bytes, start + at * _PAIR.size)


def _buffers(batch: Table, body: memoryview) -> Iterator[memoryview]:
    for start, length in _pairs(batch, 2):
        if not 0 <= start <= start + length <= len(body):
            raise ValueError
        yield body[start : start + length]


def _values(
    column: Column, rows: int, buffers: Iterator[memoryview], dictionaries: Dictionaries
) -> list[Any]:
    if column.kind == "null":
        return [None] * rows
    validity, data = next(buffers), next(buffers)
    if rows == 0:
        if column.kind == "text":
            next(buffers)
        return []
    values: Sequence[Any]
    if column.kind == "text":
        values = _texts(np.frombuffer(data, column.offsets, rows + 1).tolist(), bytes(next(buffers)))
    elif column.kind == "bool":
        values = _bits(data, rows).tolist()
    else:
        values = np.frombuffer(data, column.kind, rows).tolist()
    valid = _bits(validity, rows).tolist() if len(validity) else [True] * rows
    if column.dictionary is None:
        return [
            value if there and not _is_nan(value) else None
            for value, there in zip(values, valid, strict=True)
        ]
    known = dictionaries[column.dictionary]
    if any(there and not 0 <= value < len(known) for value, there in zip(values, valid, strict=True)):
        raise ValueError
    return [known[value] if there else None for value, there in zip(values, valid, strict=True)]


def _is_nan(value: Any) -> bool:
    return value.__class__ is float and math.isnan(value)


def _bits(data: memoryview, rows: int) -> Any:
    if len(data) * 8 < rows:
        raise ValueError
    return np.unpackbits(np.frombuffer(data, np.uint8), count=rows, bitorder="little").astype(bool)


def _texts(offsets: list[int], content: bytes) -> list[str]:
    if offsets[0] < 0 or offsets[-1] > len(content) or offsets != sorted(offsets):
        raise ValueError
    return [content[start:end].decode() for start, end in pairwise(offsets)]
