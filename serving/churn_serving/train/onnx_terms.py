"""Terms as nodes of a graph: from the bundle's coded matrix to the matrix that a step takes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
from onnx import TensorProto

from churn_serving.bundle.schema import Categorical, Feature, Numeric
from churn_serving.train.graph import Graph
from churn_serving.train.terms import Computed, Lookup, Number, Term

_AS_IT_COMES = (0.0, 1.0)


def set_scales(
    features: Sequence[Feature], terms: Sequence[Term], exact: Sequence[Term] = ()
) -> list[Feature]:
    """The features, centred and scaled as the pipeline does it: in float64, so that float32 loses nothing.

    A column that is looked up stays as it comes; one that is scaled in several ways is scaled in the first,
    but where one of the `exact` terms is among them, as that one has it.
    """
    looked_up = {term.feature for term in _leaves(terms) if isinstance(term, Lookup) and term.keys}
    ways: dict[str, tuple[float, float]] = {}
    for term in _leaves(exact):
        if isinstance(term, Number):
            ways.setdefault(term.feature, (term.centre, term.scale))
    for term in _leaves(terms):
        if isinstance(term, Number) and (term.centre, term.scale) != _AS_IT_COMES:
            ways.setdefault(term.feature, (term.centre, term.scale))
    scaled: list[Feature] = []
    for feature in features:
        if not isinstance(feature, Numeric):
            scaled.append(feature)
            continue
        name = feature.name
        centre, scale = _AS_IT_COMES if name in looked_up else ways.get(name, _AS_IT_COMES)
        scaled.append(msgspec.structs.replace(feature, centre=centre, scale=scale))
    return scaled


def used_features(terms: Sequence[Term]) -> set[str]:
    """Which features the terms look at."""
    return {term.feature for term in _leaves(terms)}


class Emitter:
    """Adds terms to one graph; what several share is added once."""

    def __init__(self, graph: Graph, features: Sequence[Feature]) -> None:
        self.graph = graph
        self._features = {feature.name: feature for feature in features}
        self._columns = {feature.name: at for at, feature in enumerate(features)}
        self._steps: dict[int, str] = {}

    def matrix(self, terms: Sequence[Term]) -> str:
        """The tensor (rows, terms), float32."""
        order = sorted(range(len(terms)), key=lambda at: self._group(terms[at]))
        parts = []
        for (kind, _, _), places in groupby(order, key=lambda at: self._group(terms[at])):
            parts.append(self._emit[kind](self, [terms[at] for at in places]))
        joined = parts[0] if len(parts) == 1 else self.graph.add("Concat", *parts, axis=1)
        if order == list(range(len(terms))):
            return joined
        return self._pick(joined, np.argsort(order).tolist())

    def is_scaled_otherwise(self, term: Number) -> bool:
        """Whether the bundle's matrix holds the column centred and scaled in another way."""
        feature = self._features[term.feature]
        return isinstance(feature, Numeric) and self._conversion(term) != (1.0, 0.0)

    def _gather(self, names: Sequence[str]) -> str:
        return self.graph.gather([self._columns[name] for name in names])

    def _group(self, term: Term) -> tuple[int, str, int]:
        """Terms of one group are added together: the kind, then what they have in common."""
        match term:
            case Number():
                return 0, "", 0
            case Lookup() if term.hot is not None:
                return 1, "", 0
            case Lookup(feature=feature, keys=keys):
                return 2, feature, len(keys)
            case Computed(step=step):
                return 3, "", id(step)
        raise AssertionError(term)  # no text: trace refuses it

    def _numbers(self, terms: Sequence[Any]) -> str:
        graph = self.graph
        values = self._gather([term.feature for term in terms])
        ratios, shifts = zip(*[self._conversion(term) for term in terms], strict=True)
        if {*ratios} != {1.0} or {*shifts} != {0.0}:
            values = graph.add("Mul", values, graph.constant(ratios, np.float32))
            values = graph.add("Add", values, graph.constant(shifts, np.float32))
        fills = [term.fill for term in terms]
        if np.isnan(fills).all():
            return values
        return graph.add("Where", graph.add("IsNaN", values), graph.constant(fills, np.float32), values)

    def _conversion(self, term: Number) -> tuple[float, float]:
        """From the feature as the matrix holds it to the term."""
        feature = self._features[term.feature]
        if not isinstance(feature, Numeric):
            return 1 / term.scale, -term.centre / term.scale
        return feature.scale / term.scale, (feature.centre - term.centre) / term.scale

    def _hots(self, terms: Sequence[Any]) -> str:
        values = self._gather([term.feature for term in terms])
        keys = self.graph.constant([term.hot for term in terms], np.float32)
        return self._cast(self.graph.add("Equal", values, keys))

    def _lookups(self, terms: Sequence[Any]) -> str:
        """Rows of a table: 0 for what was never seen, then the keys, the last for what is missing."""
        graph, first = self.graph, terms[0]
        table = [[term.unseen, *term.values, term.missing] for term in terms]
        column = self._gather([first.feature])
        if isinstance(self._features[first.feature], Categorical):
            place = graph.add("Add", column, graph.constant(1, np.float32))
        else:
            equal = self._cast(graph.add("Equal", column, graph.constant(list(first.keys), np.float32)))
            counted = np.arange(1, len(first.keys) + 1).reshape(-1, 1)
            seen = graph.add("MatMul", equal, graph.constant(counted, np.float32)) if first.keys else None
            missing = self._cast(graph.add("IsNaN", column))
            last = graph.add("Mul", missing, graph.constant(len(first.keys) + 1, np.float32))
            place = last if seen is None else graph.add("Add", seen, last)
        row = graph.add("Cast", self._pick_axis(place), to=TensorProto.INT64)
        return graph.add("Gather", graph.constant(np.array(table).T, np.float32), row, axis=0)

    def _computed(self, terms: Sequence[Any]) -> str:
        step = terms[0].step
        if id(step) not in self._steps:
            self._steps[id(step)] = step.add(self.graph, self.matrix(step.inputs))
        return self._pick(self._steps[id(step)], [term.column for term in terms])

    def _pick(self, matrix: str, columns: Sequence[int]) -> str:
        return self.graph.add("Gather", matrix, self.graph.constant(columns, np.int64), axis=1)

    def _pick_axis(self, column: str) -> str:
        return self.graph.add("Squeeze", column, self.graph.constant([1], np.int64))

    def _cast(self, flags: str) -> str:
        return self.graph.add("Cast", flags, to=TensorProto.FLOAT)

    _emit: Mapping[int, Callable[["Emitter", Sequence[Any]], str]] = {
        0: _numbers, 1: _hots, 2: _lookups, 3: _computed
    }  # fmt: skip


def _leaves(terms: Sequence[Term]) -> Iterator[Any]:
    for term in terms:
        if isinstance(term, Computed):
            yield from _leaves(term.step.inputs)
        else:
            yield term
