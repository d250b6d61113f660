"""The ONNX graph of a fitted classifier: coded matrix in, probabilities of both classes out.

Built by hand: two dozen nodes at most, the same bytes each time, and exact in how trees compare.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from churn_serving.scorer import INPUT, OUTPUT
from churn_serving.train.calibration import Calibrator, Isotonic, Sigmoid
from churn_serving.train.classifiers import LEAST_SHARE, Classifier
from churn_serving.train.onnx_boosters import lightgbm_table, xgboost_table
from churn_serving.train.onnx_trees import TreeTable, boosting_table, forest_table, hist_table
from churn_serving.train.pipeline import Fitted, Layout

_OPSET, _ML_OPSET, _IR = 21, 3, 10

# By the name of the class: xgboost and lightgbm need not be installed.
_BOOSTED: Mapping[str, Callable[[Classifier], TreeTable]] = {
    "GradientBoostingClassifier": boosting_table,
    "HistGradientBoostingClassifier": hist_table,
    "XGBClassifier": xgboost_table,
    "LGBMClassifier": lightgbm_table,
}


class _Graph:
    """Collects nodes and constants; `add` returns the name of the node's output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: Any, dtype: type[np.generic]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def gather(self, columns: Sequence[int]) -> str:
        return self.add("Gather", INPUT, self.constant(columns, np.int64), axis=1)


def build_graph(fitted: Fitted) -> bytes:
    """Serialise the graph of a model fitted on two classes, the second of which is churn."""
    graph = _Graph()
    inputs = INPUT if fitted.layout is None else _expand(graph, fitted.layout)
    _finish(graph, fitted, inputs)
    features = len(fitted.features)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "churn",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", features])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 2])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)],
        ir_version=_IR,
        producer_name="churn-serving",
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _finish(graph: _Graph, fitted: Fitted, inputs: str) -> None:
    classifier = fitted.classifier
    kind = type(classifier).__name__
    if kind == "RandomForestClassifier":
        _finish_forest(graph, _trees(graph, inputs, forest_table(classifier)), fitted.calibrator)
        return
    if kind == "LogisticRegression":
        raw = _logistic(graph, inputs, classifier)
    else:
        raw = _trees(graph, inputs, _BOOSTED[kind](classifier))
    if fitted.calibrator is None:
        graph.add("Softmax", raw, output=OUTPUT, axis=1)  # over (0, z) it is the logistic function of z
    else:
        _calibrate(graph, _column(graph, raw, 1), fitted.calibrator)


def _finish_forest(graph: _Graph, shares: str, calibrator: Calibrator | None) -> None:
    if calibrator is None:
        graph.add("Identity", shares, output=OUTPUT)
        return
    logs = graph.add("Log", graph.add("Max", shares, graph.constant(LEAST_SHARE, np.float32)))
    _calibrate(graph, graph.add("Sub", _column(graph, logs, 1), _column(graph, logs, 0)), calibrator)


def _column(graph: _Graph, matrix: str, column: int) -> str:
    return graph.add("Gather", matrix, graph.constant([column], np.int64), axis=1)


def _expand(graph: _Graph, layout: Layout) -> str:
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


def _logistic(graph: _Graph, inputs: str, classifier: Classifier) -> str:
    weights = np.column_stack([np.zeros(classifier.coef_.shape[1]), classifier.coef_[0]])
    offsets = np.array([0.0, classifier.intercept_[0]])
    return graph.add("Gemm", inputs, graph.constant(weights, np.float32), graph.constant(offsets, np.float32))


def _trees(graph: _Graph, inputs: str, table: TreeTable) -> str:
    return graph.add("TreeEnsembleRegressor", inputs, domain="ai.onnx.ml", n_targets=2, **table.attributes())


def _calibrate(graph: _Graph, log_odds: str, calibrator: Calibrator) -> None:
    """From log odds (rows, 1) to the output."""
    if isinstance(calibrator, Sigmoid):
        slopes, offsets = ([[0.0, calibrator.slope]], [0.0, calibrator.offset])
        raw = graph.add(
            "Gemm", log_odds, graph.constant(slopes, np.float32), graph.constant(offsets, np.float32)
        )
        graph.add("Softmax", raw, output=OUTPUT, axis=1)
        return
    churn = _interpolate(graph, log_odds, calibrator)
    stay = graph.add("Sub", graph.constant(1.0, np.float32), churn)
    graph.add("Concat", stay, churn, output=OUTPUT, axis=1)


def _interpolate(graph: _Graph, log_odds: str, line: Isotonic) -> str:
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
