"""Reads from a logistic graph what each column adds to the log odds, and adds it up without the graph.

The graph spreads each customer over a column per category and multiplies; a table look-up per column gives
the same. Any other graph is left to ONNX Runtime: trees, isotonic calibration, whatever is not known here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from churn_serving.batch.columns import Codes, Column, Rows
from churn_serving.bundle.onnx_graph import Graph, Node, read_graph
from churn_serving.scorer import INPUT, OUTPUT, Probabilities

Weights = npt.NDArray[np.float64]

_MOST_SUMS = 4096  # 32 KiB: what stays next to the processor


class Term(NamedTuple):
    """What one column adds to the log odds.

    Attributes:
        slope: Times the value.
        missing: Instead, where the value is NaN.
        steps: For each code that is one of these, so much more.
    """

    slope: float = 0.0
    missing: float = np.nan
    steps: Mapping[float, float] = {}

    def of(self, codes: Codes) -> Weights:
        """The addends of these codes."""
        added = np.multiply(codes, self.slope, dtype=np.float64)
        absent = np.isnan(codes)
        if absent.any():
            added[absent] = self.missing
        for code, weight in self.steps.items():
            added[codes == code] += weight
        return added

    def of_few(self, codes: Codes) -> Weights:
        """The addends of the codes that occur: by a look-up each, of which a step costs nothing."""
        steps, slope, missing = self.steps, self.slope, self.missing
        addends = [
            missing if code != code else slope * code + steps.get(code, 0.0)  # noqa: PLR0124 - NaN
            for code in codes.tolist()
        ]
        return np.array(addends)


class Linear(NamedTuple):
    """The log odds of churn: `base` and a term per feature."""

    base: float
    terms: list[Term]

    def probabilities(self, columns: Sequence[Column]) -> Probabilities:
        """Probability of churn per row, float64."""
        log_odds = np.full(columns[0].rows, self.base)
        coded: list[_Coded] = []
        for term, (values, positions) in zip(self.terms, columns, strict=True):
            if positions is None:
                log_odds += term.of(values)
            else:
                coded.append((term.of_few(values), positions))
        for table, positions in _merge(coded):
            log_odds += table.take(positions)
        with np.errstate(over="ignore"):  # of odds against it that no number holds: 0 is right
            return np.asarray(1 / (1 + np.exp(-log_odds)))


_Coded = tuple[Weights, Rows]
"""Addends, and which of them each row has."""


def _merge(columns: Sequence[_Coded]) -> list[_Coded]:
    """Neighbours as one column of their sums: to look a place up takes longer than to work it out."""
    merged: list[_Coded] = []
    for addends, positions in columns:
        places = positions.astype(np.intp)  # which look-ups take as they are; a copy, to be worked on
        if merged and len(merged[-1][0]) * len(addends) <= _MOST_SUMS:
            sums, before = merged.pop()
            before *= len(addends)
            before += places
            merged.append((np.add.outer(sums, addends).ravel(), before))
        else:
            merged.append((addends, places))
    return merged


def read_linear(model: bytes, features: int, positive: int) -> Linear | None:
    """The weights of a graph, or None where it is not one of the linear ones known here.

    Args:
        model: Bytes of model.onnx.
        features: Width of the matrix.
        positive: Column of the output that is the probability of churn.
    """
    try:
        sums = _read_sums(read_graph(model), features)
    except (LookupError, ValueError):
        return None
    sign = 1 if positive == 1 else -1  # a softmax over two is the logistic function of their difference
    weights, offsets = sums.weights * sign, sums.offsets * sign
    terms = [_term(at, sums.units, weights[:, 1] - weights[:, 0]) for at in range(features)]
    return Linear(float(offsets[1] - offsets[0]), terms)


class _Unit(NamedTuple):
    """A column of an inner matrix: that input column, whether it is NaN, or whether it equals a code."""

    column: int
    kind: str
    number: float = np.nan  # the code; of a value what stands for NaN


class _Sums(NamedTuple):
    """Columns of an inner matrix that are weighted sums (units by columns) of units."""

    units: list[_Unit]
    weights: Weights
    offsets: Weights


_Tensor = list[_Unit] | _Sums
_Tensors = Mapping[str, _Tensor]


def _read_sums(graph: Graph, features: int) -> _Sums:
    """What the last node, a softmax over two columns, is given."""
    tensors: dict[str, _Tensor] = {INPUT: [_Unit(at, "value") for at in range(features)]}
    *inner, last = graph.nodes
    for node in inner:
        _require(not node.domain)
        tensors[node.output] = _OPERATORS[node.operator](node, tensors, graph.constants)
    _require(
        (last.domain, last.operator, last.output, last.attributes) == ("", "Softmax", OUTPUT, {"axis": 1})
    )
    sums = tensors[last.inputs[0]]
    _require(isinstance(sums, _Sums) and sums.weights.shape[1] == 2)
    return sums  # type: ignore[return-value]


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError("the graph is not linear")


def _gather(node: Node, tensors: _Tensors, constants: Mapping[str, Any]) -> _Tensor:
    source, at = tensors[node.inputs[0]], constants[node.inputs[1]]
    _require(node.attributes == {"axis": 1} and at.ndim == 1)
    if isinstance(source, _Sums):
        return _Sums(source.units, source.weights[:, at], source.offsets[at])
    return [source[each] for each in at.tolist()]


def _is_nan(node: Node, tensors: _Tensors, _: Mapping[str, Any]) -> _Tensor:
    return [_Unit(unit.column, "is nan") for unit in _values(tensors[node.inputs[0]])]


def _where(node: Node, tensors: _Tensors, constants: Mapping[str, Any]) -> _Tensor:
    absent, fills, values = (
        tensors[node.inputs[0]],
        constants[node.inputs[1]],
        _values(tensors[node.inputs[2]]),
    )
    _require(absent == [_Unit(unit.column, "is nan") for unit in values])
    return [
        _Unit(unit.column, "value", fill)
        for unit, fill in zip(values, _numbers(fills, len(values)), strict=True)
    ]


def _equal(node: Node, tensors: _Tensors, constants: Mapping[str, Any]) -> _Tensor:
    values = _values(tensors[node.inputs[0]])
    codes = _numbers(constants[node.inputs[1]], len(values))
    return [_Unit(unit.column, "equal", code) for unit, code in zip(values, codes, strict=True)]


def _cast(node: Node, tensors: _Tensors, _: Mapping[str, Any]) -> _Tensor:
    _require(node.attributes == {"to": _FLOAT})
    return tensors[node.inputs[0]]


def _concat(node: Node, tensors: _Tensors, _: Mapping[str, Any]) -> _Tensor:
    _require(node.attributes == {"axis": 1})
    return [unit for name in node.inputs for unit in _units(tensors[name])]


def _gemm(node: Node, tensors: _Tensors, constants: Mapping[str, Any]) -> _Tensor:
    source = tensors[node.inputs[0]]
    weights, offsets = (constants[name].astype(np.float64) for name in node.inputs[1:])
    _require(not node.attributes and offsets.shape == weights.shape[1:])
    if isinstance(source, _Sums):
        return _Sums(source.units, source.weights @ weights, source.offsets @ weights + offsets)
    _require(len(source) == len(weights))
    return _Sums(source, weights, offsets)


_FLOAT = 1  # TensorProto.DataType
_OPERATORS: Mapping[str, Callable[[Node, _Tensors, Mapping[str, Any]], _Tensor]] = {
    "Gather": _gather, "IsNaN": _is_nan, "Where": _where, "Equal": _equal, "Cast": _cast,
    "Concat": _concat, "Gemm": _gemm,
}  # fmt: skip


def _units(tensor: _Tensor) -> list[_Unit]:
    _require(isinstance(tensor, list))
    return tensor  # type: ignore[return-value]


def _values(tensor: _Tensor) -> list[_Unit]:
    units = _units(tensor)
    _require(all(unit.kind == "value" and np.isnan(unit.number) for unit in units))
    return units


def _numbers(constant: Any, count: int) -> list[float]:
    _require(constant.shape == (count,))
    return list(map(float, constant.tolist()))


def _term(column: int, units: Sequence[_Unit], weights: Weights) -> Term:
    slope = missing = 0.0
    steps: dict[float, float] = {}
    for unit, weight in zip(units, weights.tolist(), strict=True):
        if unit.column != column:
            continue
        if unit.kind == "equal":
            steps[unit.number] = steps.get(unit.number, 0.0) + weight
        elif unit.kind == "value":
            slope += weight
            missing += weight * unit.number
        else:
            missing += weight
    return Term(slope, missing, steps)
