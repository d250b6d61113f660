"""Estimates as nodes of a graph: from the bundle's coded matrix to the probabilities of both classes."""

from collections.abc import Sequence

import numpy as np

from churn_serving.bundle.schema import Feature
from churn_serving.errors import DataError
from churn_serving.scorer import OUTPUT
from churn_serving.train.estimates import Corrected, Estimate, Mean, Single, singles_of
from churn_serving.train.foreign import add_step
from churn_serving.train.graph import Graph
from churn_serving.train.onnx_graph import (
    add_calibrator,
    add_classifier,
    add_log_odds,
    column,
    has_log_odds,
    has_table,
    is_exact,
)
from churn_serving.train.onnx_terms import Emitter
from churn_serving.train.onnx_trees import nearest32
from churn_serving.train.terms import Number


def build_traced(features: Sequence[Feature], estimate: Estimate) -> bytes:
    """Serialise the graph of a pipeline.

    Raises:
        DataError: A classifier cannot be converted, by its name.
    """
    graph = Graph()
    emitter = Emitter(graph, features)
    singles = list(singles_of(estimate))
    if len({id(single.terms) for single in singles}) > 1:
        for single in singles:
            _check_scales(emitter, single)
    _add(emitter, estimate, OUTPUT)
    return graph.serialise(len(features))


def _add(emitter: Emitter, estimate: Estimate, output: str = "") -> str:
    """The probabilities of both classes, (rows, 2)."""
    graph = emitter.graph
    match estimate:
        case Single(terms, classifier, told):
            inputs = emitter.matrix(terms)
            if has_table(classifier):
                return add_classifier(graph, inputs, classifier, narrow=nearest32, output=output)
            given = add_step(classifier, len(terms), told)(graph, inputs)
            return graph.add("Identity", given, output=output)
        case Corrected(of, calibrator):
            return add_calibrator(graph, _add_response(emitter, of), calibrator, output)
        case Mean(of, weights):
            parts = [
                graph.add("Mul", _add(emitter, each), graph.constant(weight, np.float32))
                for each, weight in zip(of, weights, strict=True)
            ]
            return graph.add("Sum", *parts, output=output)


def _check_scales(emitter: Emitter, estimate: Single) -> None:
    """Refuse trees behind another scaler of a column than other trees.

    The bundle's matrix holds the column as the first of them has it. Scaled anew it is an ulp off, and a
    value that equals a threshold, as quantiles do, would fall on the other side.
    """
    if not is_exact(estimate.classifier):
        return
    for term in estimate.terms:
        if isinstance(term, Number) and emitter.is_scaled_otherwise(term):
            raise DataError(
                f"{estimate.told} and another step scale {term.feature!r} differently, and trees"
                " tell apart what float32 does not: leave the scaler out, trees need none, or fit it once"
                " and calibrate or vote behind it, as the pipeline's last step"
            )


def _add_response(emitter: Emitter, estimate: Estimate) -> str:
    """What scikit-learn calibrates, (rows, 1): the decision function, else the probability."""
    if (
        isinstance(estimate, Single)
        and hasattr(estimate.classifier, "decision_function")
        and has_log_odds(estimate.classifier)
    ):
        inputs = emitter.matrix(estimate.terms)
        return add_log_odds(emitter.graph, inputs, estimate.classifier, nearest32)
    return column(emitter.graph, _add(emitter, estimate), 1)
