"""Input tensors to the customers they describe: a tensor for each column, or one matrix of all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from churn_serving.bundle.schema import Boolean, Manifest, Numeric
from churn_serving.features import MAX_FAULTS, Fault, shown
from churn_serving.server.bounds import text_too_long
from churn_serving.server.http import RequestError
from churn_serving.server.oip.datatypes import BOOLEAN, TEXT
from churn_serving.server.oip.tensors import Cells, Tensor, refuse
from churn_serving.vectors import Texts, Values, VectorEncoder


def count_rows(tensors: Sequence[Tensor], max_records: int) -> int:
    """How many customers there are: every input has as many rows.

    Raises:
        RequestError: There is no input, two are called the same, rows differ or are too many (413).
    """
    if not tensors:
        raise RequestError(400, "invalid_request", "inputs must hold at least one tensor")
    names = set()
    for tensor in tensors:
        if tensor.rows != tensors[0].rows:
            problem = f"{tensor.rows} rows where {shown(tensors[0].name)!r} has {tensors[0].rows}"
            raise refuse(tensor.name, problem)
        if tensor.name in names:
            raise refuse(tensor.name, "is given twice")
        names.add(tensor.name)
    if tensors[0].rows > max_records:
        message = f"{tensors[0].rows} records in one request; at most {max_records} are allowed"
        raise RequestError(413, "too_many_records", message)
    return tensors[0].rows


def check_texts(tensors: Sequence[Tensor], most: int) -> None:
    """Refuse texts of more than `most` characters.

    Raises:
        RequestError: Names the input.
    """
    for tensor in tensors:
        if tensor.datatype != TEXT:
            continue
        texts = tensor.cells.different if isinstance(tensor.cells, Texts) else tensor.cells
        if max(map(len, filter(None, texts)), default=0) > most:
            raise text_too_long(most, [Fault(0, shown(tensor.name), "invalid", "it holds such a text")])


def first_customer(tensors: Sequence[Tensor], id_column: str | None) -> str | int | None:
    """The first record's id, where one of the inputs is the id column."""
    for tensor in tensors:
        if tensor.name == id_column:
            first: Any = tensor.cells[0]
            if tensor.datatype == TEXT:
                return first  # type: ignore[no-any-return]
            return int(first) if np.isfinite(first) else None
    return None


def read_customers(tensors: Sequence[Tensor], manifest: Manifest, encoder: VectorEncoder) -> Values:
    """The customers as `vectors` takes them: (rows, features).

    Raises:
        RequestError: Columns are missing or unknown, or an input's datatype does not fit its column.
    """
    columns = _columns(tensors, manifest)
    values = np.empty((tensors[0].rows, len(columns)), dtype=np.float64)
    for at, (tensor, cells) in enumerate(columns):
        values[:, at] = _read(encoder, at, tensor, cells)
    return values


def _columns(tensors: Sequence[Tensor], manifest: Manifest) -> list[tuple[Tensor, Cells]]:
    names = [feature.name for feature in manifest.features]
    only = tensors[0]
    if len(tensors) == 1 and only.name not in names and only.columns == len(names):
        return [(only, only.column(at)) for at in range(len(names))]
    found = {tensor.name: tensor for tensor in tensors}
    _check_names(found, names, manifest)
    return [(found[name], found[name].cells) for name in names]


def _check_names(found: Mapping[str, Tensor], names: Sequence[str], manifest: Manifest) -> None:
    wide = next((tensor for tensor in found.values() if tensor.columns > 1), None)
    if wide is not None:
        problem = (
            f"a matrix must be the only input, with the model's {len(names)} columns in their order; "
            "a column's shape is [rows] or [rows, 1]"
        )
        raise refuse(wide.name, problem)
    known = {*names, *manifest.accepted}
    for problem, wrong in (
        ("inputs are missing", [name for name in names if name not in found]),
        ("the model has no such columns", [name for name in found if name not in known]),
    ):
        if wrong:
            told = ", ".join(repr(shown(name)) for name in wrong[:MAX_FAULTS])
            raise RequestError(400, "invalid_records", f"{problem}: {told}")


def _read(encoder: VectorEncoder, at: int, tensor: Tensor, cells: Cells) -> Values:
    feature = encoder.features[at]
    if tensor.datatype == TEXT:
        return encoder.read_texts(at, cells)  # type: ignore[arg-type]
    if tensor.datatype == BOOLEAN and not isinstance(feature, Boolean):
        expected = "numbers" if isinstance(feature, Numeric) else f"{TEXT}, or each category's position"
        raise refuse(tensor.name, f"column {shown(feature.name)!r} holds {expected}, not {BOOLEAN}")
    return np.asarray(cells, dtype=np.float64)
