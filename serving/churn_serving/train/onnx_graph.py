"""The ONNX graph of a fitted classifier: coded matrix in, probabilities of both classes out.

Built by hand: fourteen nodes at most, the same bytes each time, and exact in how trees compare.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from churn_serving.scorer import INPUT, OUTPUT
from churn_serving.train.pipeline import Classifier, Layout

_OPSET, _ML_OPSET, _IR = 21, 3, 10


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


def build_graph(layout: Layout, classifier: Classifier, features: int) -> bytes:
    """Serialise the graph.

    Args:
        layout: Expansion from the coded matrix to the classifier's inputs.
        classifier: Fitted on two classes, the second of which is churn.
        features: Width of the coded matrix.
    """
    graph = _Graph()
    inputs = _expand(graph, layout)
    if isinstance(classifier, LogisticRegression):
        raw = _logistic(graph, inputs, classifier)
    else:
        raw = _trees(graph, inputs, classifier)
    graph.add("Softmax", raw, output=OUTPUT, axis=1)  # over (0, z) it is the logistic function of z
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


def _logistic(graph: _Graph, inputs: str, classifier: LogisticRegression) -> str:
    weights = np.column_stack([np.zeros(classifier.coef_.shape[1]), classifier.coef_[0]])
    offsets = np.array([0.0, classifier.intercept_[0]])
    return graph.add("Gemm", inputs, graph.constant(weights, np.float32), graph.constant(offsets, np.float32))


def _trees(graph: _Graph, inputs: str, classifier: GradientBoostingClassifier) -> str:
    nodes: dict[str, Any] = {name: [] for name in _NODE_FIELDS}
    leaves: dict[str, Any] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree_id, estimator in enumerate(classifier.estimators_[:, 0]):
        _add_tree(nodes, leaves, tree_id, estimator.tree_, classifier.learning_rate)
    prior = classifier.init_.class_prior_[1]
    return graph.add(
        "TreeEnsembleRegressor",
        inputs,
        domain="ai.onnx.ml",
        n_targets=2,
        base_values=[0.0, float(np.log(prior / (1 - prior)))],
        **{f"nodes_{name}": values for name, values in nodes.items()},
        **{f"target_{name}": values for name, values in leaves.items()},
    )


_NODE_FIELDS = ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids")


def _add_tree(
    nodes: dict[str, list[Any]], leaves: dict[str, list[Any]], tree_id: int, tree: Any, learning_rate: float
) -> None:
    for node in range(tree.node_count):
        is_leaf = tree.children_left[node] == -1
        row = (
            tree_id,
            node,
            "LEAF" if is_leaf else "BRANCH_LEQ",
            0 if is_leaf else int(tree.feature[node]),
            0.0 if is_leaf else _floor32(tree.threshold[node]),
            0 if is_leaf else int(tree.children_left[node]),
            0 if is_leaf else int(tree.children_right[node]),
        )
        for name, value in zip(_NODE_FIELDS, row, strict=True):
            nodes[name].append(value)
        if is_leaf:
            weight = float(tree.value[node, 0, 0]) * learning_rate
            for name, value in zip(leaves, (tree_id, node, 1, weight), strict=True):
                leaves[name].append(value)


def _floor32(threshold: float) -> float:
    """The largest float32 not above it: `x <= threshold` then holds for the same float32 x as in training."""
    nearest = np.float32(threshold)
    return float(np.nextafter(nearest, np.float32(-np.inf)) if nearest > threshold else nearest)
