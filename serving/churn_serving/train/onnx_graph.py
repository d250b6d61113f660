"""The ONNX graph of a fitted classifier: coded matrix in, probabilities of both classes out.

Built by hand: two dozen nodes at most, the same bytes each time, and exact in how trees compare.
"""

from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto

from churn_serving.scorer import INPUT, OUTPUT
from churn_serving.train.calibration import Calibrator, Isotonic, Sigmoid
from churn_serving.train.classifiers import LEAST_SHARE, Classifier
from churn_serving.train.graph import Graph
from churn_serving.train.onnx_boosters import lightgbm_table, xgboost_table
from churn_serving.train.onnx_trees import (
    Narrow,
    TreeTable,
    boosting_table,
    floor32,
    forest_table,
    hist_table,
)
from churn_serving.train.pipeline import Fitted, Layout

# By the name of the class: xgboost and lightgbm need not be installed.
_BOOSTED: Mapping[str, Callable[[Classifier], TreeTable]] = {
    "GradientBoostingClassifier": boosting_table,
    "XGBClassifier": xgboost_table,
}
_BOOSTED_IN_FLOAT64: Mapping[str, Callable[[Classifier, Narrow], TreeTable]] = {
    "HistGradientBoostingClassifier": hist_table,
    "LGBMClassifier": lightgbm_table,
}
_FORESTS = {"RandomForestClassifier", "ExtraTreesClassifier"}
# Of two classes, all of these give the logistic function of a weighted sum.
_LINEAR = {"LogisticRegression", "LogisticRegressionCV", "LinearDiscriminantAnalysis"}


def build_graph(fitted: Fitted) -> bytes:
    """Serialise the graph of a model fitted on two classes, the second of which is churn."""
    graph = Graph()
    inputs = INPUT if fitted.layout is None else _expand(graph, fitted.layout)
    add_classifier(graph, inputs, fitted.classifier, fitted.calibrator)
    return graph.serialise(len(fitted.features))


def has_table(classifier: Classifier) -> bool:
    """Whether `add_classifier` knows it. With other settings some are of another form."""
    kind = type(classifier).__name__
    if kind == "GradientBoostingClassifier":
        return classifier.loss == "log_loss" and classifier.init is None
    return kind in {*_LINEAR, *_FORESTS, *_BOOSTED, *_BOOSTED_IN_FLOAT64}


def is_exact(classifier: Classifier) -> bool:
    """Whether it is made of trees: a value that is an ulp off may fall on the other side of a threshold."""
    return has_table(classifier) and type(classifier).__name__ not in _LINEAR


def has_log_odds(classifier: Classifier) -> bool:
    """Whether `add_log_odds` knows it: they are its decision function, where it has one."""
    return has_table(classifier) and type(classifier).__name__ not in _FORESTS


def add_classifier(
    graph: Graph,
    inputs: str,
    classifier: Classifier,
    calibrator: Calibrator | None = None,
    *,
    narrow: Narrow = floor32,
    output: str = OUTPUT,
) -> str:
    """From the classifier's inputs to the probabilities of both classes.

    Args:
        graph: Gets the nodes.
        inputs: The tensor (rows, inputs), float32.
        classifier: One that has a table.
        calibrator: What makes probabilities of its log odds, if it does not itself.
        narrow: What becomes of thresholds for float64: by default right for who was fitted on float32.
        output: What the tensor is called; empty gives it a name of its own.
    """
    if type(classifier).__name__ in _FORESTS:
        return _finish_forest(graph, _trees(graph, inputs, forest_table(classifier)), calibrator, output)
    raw = _raw(graph, inputs, classifier, narrow)
    if calibrator is None:
        return graph.add("Softmax", raw, output=output, axis=1)  # over (0, z) the logistic function of z
    return add_calibrator(graph, column(graph, raw, 1), calibrator, output)


def add_log_odds(graph: Graph, inputs: str, classifier: Classifier, narrow: Narrow) -> str:
    """From the classifier's inputs to its log odds (rows, 1), if `has_log_odds`."""
    return column(graph, _raw(graph, inputs, classifier, narrow), 1)


def add_calibrator(graph: Graph, log_odds: str, calibrator: Calibrator, output: str) -> str:
    """From log odds (rows, 1), or what else it was fitted on, to the probabilities of both classes."""
    if isinstance(calibrator, Sigmoid):
        slopes, offsets = ([[0.0, calibrator.slope]], [0.0, calibrator.offset])
        raw = graph.add(
            "Gemm", log_odds, graph.constant(slopes, np.float32), graph.constant(offsets, np.float32)
        )
        return graph.add("Softmax", raw, output=output, axis=1)
    churn = _interpolate(graph, log_odds, calibrator)
    stay = graph.add("Sub", graph.constant(1.0, np.float32), churn)
    return graph.add("Concat", stay, churn, output=output, axis=1)


def _raw(graph: Graph, inputs: str, classifier: Classifier, narrow: Narrow) -> str:
    """Nought and the log odds."""
    kind = type(classifier).__name__
    if kind in _LINEAR:
        return _logistic(graph, inputs, classifier)
    if kind in _BOOSTED:
        return _trees(graph, inputs, _BOOSTED[kind](classifier))
    return _trees(graph, inputs, _BOOSTED_IN_FLOAT64[kind](classifier, narrow))


def _finish_forest(graph: Graph, shares: str, calibrator: Calibrator | None, output: str) -> str:
    if calibrator is None:
        return graph.add("Identity", shares, output=output)
    logs = graph.add("Log", graph.add("Max", shares, graph.constant(LEAST_SHARE, np.float32)))
    log_odds = graph.add("Sub", column(graph, logs, 1), column(graph, logs, 0))
    return add_calibrator(graph, log_odds, calibrator, output)


def column(graph: Graph, matrix: str, at: int) -> str:
    """One column of a tensor, (rows, 1)."""
    return graph.add("Gather", matrix, graph.constant([at], np.int64), axis=1)


def _expand(graph: Graph, layout: Layout) -> str:
    parts = []
    if layout.values:
        values = graph.gather(layout.values)
        fills = graph.constant(layout.fills, np.float32)
        parts.append(graph.add("Where", graph.add("IsNaN", values), fills, values))
    if layout.marks:
        marks = graph.add("IsNaN", graph.gather(layout.marks))
        parts.append(graph.add("Cast", marks, to=TensorProto.FLOAT))
    if layout.codes:
        equal = graph.add("Equal", graph.gather(layout.onehot), graph.constant(layout.codes, np.float32))
        parts.append(graph.add("Cast", equal, to=TensorProto.FLOAT))
    return graph.add("Concat", *parts, axis=1)


def _logistic(graph: Graph, inputs: str, classifier: Classifier) -> str:
    weights = np.column_stack([np.zeros(classifier.coef_.shape[1]), classifier.coef_[0]])
    offsets = np.array([0.0, classifier.intercept_[0]])
    return graph.add("Gemm", inputs, graph.constant(weights, np.float32), graph.constant(offsets, np.float32))


def _trees(graph: Graph, inputs: str, table: TreeTable) -> str:
    return graph.add("TreeEnsembleRegressor", inputs, domain="ai.onnx.ml", n_targets=2, **table.attributes())


def _interpolate(graph: Graph, log_odds: str, line: Isotonic) -> str:
    knots, heights = np.array(line.knots), np.array(line.probabilities)
    low, high = (graph.constant(bound, np.float32) for bound in (knots[0], knots[-1]))
    within = graph.add("Clip", log_odds, low, high)
    passed = graph.add("GreaterOrEqual", within, graph.constant(knots[1:-1].reshape(1, -1), np.float32))
    piece = graph.add(
        "ReduceSum",
        graph.add("Cast", passed, to=TensorProto.INT64),
        graph.constant([1], np.int64),
        keepdims=1,
    )
    starts = (knots[:-1], heights[:-1], np.diff(heights) / np.diff(knots))
    knot, height, slope = (
        graph.add("Gather", graph.constant(values, np.float32), piece, axis=0) for values in starts
    )
    return graph.add("Add", height, graph.add("Mul", slope, graph.add("Sub", within, knot)))
