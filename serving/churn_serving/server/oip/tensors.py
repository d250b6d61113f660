"""Input tensors: their wire forms checked and read into flat cells."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from churn_serving.features import shown
from churn_serving.server.bounds import text_too_long
from churn_serving.server.http import RequestError
from churn_serving.server.oip.datatypes import BOOLEAN, NAMES, NUMBERS, TEXT, unpack_numbers, unpack_texts
from churn_serving.settings import Settings
from churn_serving.vectors import Texts

Numbers = npt.NDArray[np.generic]
Cells = Numbers | Texts | list[str] | list[str | None]


class Tensor(NamedTuple):
    """One input, whatever its wire form.

    Attributes:
        columns: 1, or the width of a matrix.
        cells: Row after row.
    """

    name: str
    datatype: str
    rows: int
    columns: int
    cells: Cells

    def column(self, at: int) -> Cells:
        return self.cells[at :: self.columns]


def check_sizes(request_id: str, inputs: Iterable[Any], settings: Settings) -> None:
    """Refuse more texts than are read, before any of them is unpacked; the request's id is one.

    Args:
        request_id: As it came.
        inputs: Whatever has a name, a datatype and a shape.
        settings: The bounds.

    Raises:
        RequestError: They are too many (413) or the id is too long; or a shape is none.
    """
    if len(request_id) > settings.max_text_length:
        raise text_too_long(settings.max_text_length)
    texts = 0
    for each in inputs:
        rows, columns = read_shape(each.name, each.shape)
        texts += rows * columns if each.datatype == TEXT else 0
    if texts > settings.max_values:
        message = f"the shapes have more than {settings.max_values} texts; send fewer records at once"
        raise RequestError(413, "too_many_values", message)


def read_shape(name: str, shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a shape [rows] or [rows, columns].

    Raises:
        RequestError: It is neither.
    """
    if not 1 <= len(shape) <= 2 or any(size < 1 for size in shape):
        raise refuse(name, "expected the shape [rows] or [rows, columns], with at least one row")
    return shape[0], shape[1] if len(shape) == 2 else 1


def read_data(name: str, datatype: str, shape: list[int], data: list[Any]) -> Tensor:
    """A tensor of JSON values, flat or a list per row. A null is a missing value.

    Raises:
        RequestError: Shape, datatype and data do not agree.
    """
    rows, columns = read_shape(name, shape)
    kind = _kind(name, datatype)
    if data and isinstance(data[0], list):
        if len(shape) < 2 or any(not isinstance(row, list) or len(row) != columns for row in data):
            raise refuse(name, "data holds lists that its shape does not have")
        data = [cell for row in data for cell in row]
    check_count(name, len(data), rows * columns)
    try:
        cells: Any = msgspec.convert(data, list[kind | None])  # type: ignore[valid-type]
        if datatype != TEXT:
            cells = np.array(cells, dtype=np.float64 if None in cells else NUMBERS[datatype])
    except (msgspec.ValidationError, OverflowError):
        raise refuse(name, f"data holds a value that is no {datatype}") from None
    return Tensor(name, datatype, rows, columns, cells)


def read_packed(name: str, datatype: str, shape: Sequence[int], content: bytes) -> Tensor:
    """A tensor in its binary form.

    Raises:
        RequestError: Shape, datatype and content do not agree.
    """
    rows, columns = read_shape(name, shape)
    _kind(name, datatype)
    cells: Cells
    try:
        cells = (
            unpack_texts(content, rows * columns) if datatype == TEXT else unpack_numbers(content, datatype)
        )
    except ValueError:
        raise refuse(name, f"its {len(content)} bytes are no packed {datatype} values") from None
    check_count(name, len(cells), rows * columns)
    return Tensor(name, datatype, rows, columns, cells)


def refuse(name: str, problem: str) -> RequestError:
    """What is wrong with one input."""
    return RequestError(400, "invalid_tensor", f"input {shown(name)!r}: {problem}")


def check_count(name: str, found: int, expected: int) -> None:
    """Raises: RequestError: The shape has another number of values."""
    if found != expected:
        raise refuse(name, f"{found} values where the shape has {expected}")


def _kind(name: str, datatype: str) -> type:
    if datatype not in NAMES:
        raise refuse(name, f"unknown datatype; known are {', '.join(NAMES)}")
    if datatype == TEXT:
        return str
    if datatype == BOOLEAN:
        return bool
    return float if datatype.startswith("FP") else int
