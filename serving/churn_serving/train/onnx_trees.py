"""Fitted trees as the attributes of ONNX's TreeEnsembleRegressor, exact in which branch each value takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)

_NODE_FIELDS = (
    "treeids",
    "nodeids",
    "modes",
    "featureids",
    "values",
    "truenodeids",
    "falsenodeids",
    "missing_value_tracks_true",
)
_LEAF_FIELDS = ("treeids", "nodeids", "ids", "weights")

Narrow: TypeAlias = Callable[[float], float]
"""From a threshold for float64 to one for float32."""


@dataclass
class TreeTable:
    """Nodes and leaves, a row each, of all trees; the sums of the leaves reached start at `base`."""

    base: tuple[float, float]
    nodes: list[tuple[Any, ...]] = field(default_factory=list)
    leaves: list[tuple[Any, ...]] = field(default_factory=list)

    def branch(
        self, tree: int, node: int, mode: str, feature: int, value: float, *, true: int, false: int,
        missing_true: bool = False,
    ) -> None:  # fmt: skip
        """Where `feature mode value` holds go to node `true`, else to `false`."""
        self.nodes.append((tree, node, mode, feature, value, true, false, int(missing_true)))

    def leaf(self, tree: int, node: int, *weights: tuple[int, float]) -> None:
        """A leaf that adds each weight to its target."""
        self.nodes.append((tree, node, "LEAF", 0, 0.0, 0, 0, 0))
        self.leaves.extend((tree, node, target, weight) for target, weight in weights)

    def attributes(self) -> dict[str, Any]:
        """The operator's attributes."""
        nodes = zip(_NODE_FIELDS, zip(*self.nodes, strict=True), strict=True)
        leaves = zip(_LEAF_FIELDS, zip(*self.leaves, strict=True), strict=True)
        return {
            "base_values": list(self.base),
            **{f"nodes_{name}": list(values) for name, values in nodes},
            **{f"target_{name}": list(values) for name, values in leaves},
        }


def boosting_table(classifier: GradientBoostingClassifier) -> TreeTable:
    """Sums to (0, log odds)."""
    prior = classifier.init_.class_prior_[1]
    table = TreeTable((0.0, float(np.log(prior / (1 - prior)))))
    for tree_id, estimator in enumerate(classifier.estimators_[:, 0]):
        values = estimator.tree_.value[:, 0, 0] * classifier.learning_rate
        _add_tree(table, tree_id, estimator.tree_, [[(1, value)] for value in values.tolist()])
    return table


def forest_table(classifier: RandomForestClassifier) -> TreeTable:
    """Sums to the probabilities of both classes, each on its own: 1 - p loses the digits of a small one."""
    table = TreeTable((0.0, 0.0))
    for tree_id, estimator in enumerate(classifier.estimators_):
        shares = estimator.tree_.value[:, 0, :] / len(classifier.estimators_)
        _add_tree(table, tree_id, estimator.tree_, [list(enumerate(pair)) for pair in shares.tolist()])
    return table


def hist_table(classifier: HistGradientBoostingClassifier, narrow: Narrow) -> TreeTable:
    """Sums to (0, log odds). Splits on the coded matrix itself, missing values and categories included."""
    table = TreeTable((0.0, float(classifier._baseline_prediction[0, 0])))  # noqa: SLF001 - nowhere else
    columns, codes = _columns_of(classifier)
    for tree_id, (predictor,) in enumerate(classifier._predictors):  # noqa: SLF001
        spare = len(predictor.nodes)
        for index, node in enumerate(predictor.nodes):
            column = columns[node["feature_idx"]]
            left, right = int(node["left"]), int(node["right"])
            missing_left = bool(node["missing_go_to_left"])
            if node["is_leaf"]:
                table.leaf(tree_id, index, (1, float(node["value"])))
            elif node["is_categorical"]:
                bits = predictor.raw_left_cat_bitsets[node["bitset_idx"]]
                seen = codes[column]
                goes_left = [bool(bits[at // 32] >> (at % 32) & 1) for at in range(len(seen))]
                # What was never seen follows the missing ones: so name the codes that go the other way.
                named = [
                    code for code, is_left in zip(seen, goes_left, strict=True) if is_left != missing_left
                ]
                target, rest = (right, left) if missing_left else (left, right)
                spare = add_choice(
                    table, tree_id, index, column, named, target=target, rest=rest, spare=spare
                )
            else:
                threshold = narrow(node["num_threshold"])
                table.branch(
                    tree_id, index, "BRANCH_LEQ", column, threshold,
                    true=left, false=right, missing_true=missing_left,
                )  # fmt: skip
    return table


def _columns_of(classifier: HistGradientBoostingClassifier) -> tuple[list[int], dict[int, list[float]]]:
    """The matrix's column by the trees' column, and a categorical column's codes in the trees' order."""
    categorical = classifier.is_categorical_
    if categorical is None:
        return list(range(classifier.n_features_in_)), {}
    first = np.flatnonzero(categorical).tolist()
    encoder = classifier._preprocessor.named_transformers_["encoder"]  # noqa: SLF001
    codes = {column: list(map(float, seen)) for column, seen in zip(first, encoder.categories_, strict=True)}
    return first + np.flatnonzero(~categorical).tolist(), codes


def add_choice(
    table: TreeTable, tree: int, node: int, column: int, named: Sequence[float],
    *, target: int, rest: int, spare: int,
) -> int:  # fmt: skip
    """A chain: one of the named codes leads to `target`, any other to `rest`. Gives the next free id."""
    if not named:
        named = [-2.0]  # no code is that
    for at, code in enumerate(named):
        is_last = at == len(named) - 1
        table.branch(tree, node, "BRANCH_EQ", column, code, true=target, false=rest if is_last else spare)
        node, spare = spare, spare + (not is_last)
    return spare


def _add_tree(
    table: TreeTable, tree_id: int, tree: Any, weights: Sequence[Sequence[tuple[int, float]]]
) -> None:
    for node in range(tree.node_count):
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if left == -1:
            table.leaf(tree_id, node, *weights[node])
        else:
            threshold = floor32(tree.threshold[node])
            table.branch(
                tree_id, node, "BRANCH_LEQ", int(tree.feature[node]), threshold,
                true=left, false=right, missing_true=bool(tree.missing_go_to_left[node]),
            )  # fmt: skip


def nearest32(threshold: float) -> float:
    """The nearest float32: right where x was float64 in training and is rounded the same way when serving."""
    with np.errstate(over="ignore"):
        return float(np.float32(threshold))


def floor32(threshold: float) -> float:
    """The largest float32 not above it: `x <= threshold` then holds for the same float32 x as in training."""
    with np.errstate(over="ignore"):  # LightGBM writes 1e300 where every number goes one way
        nearest = np.float32(threshold)
    below = float(nearest) > threshold
    return float(np.nextafter(nearest, np.float32(-np.inf)) if below else nearest)
