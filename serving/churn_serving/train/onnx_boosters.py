"""Fitted XGBoost and LightGBM classifiers as tree tables, from the JSON that either library writes.

Both are read by their own comparisons: XGBoost asks `x < threshold` in float32, LightGBM `x <= threshold` in
float64, and each says where a missing value goes.
"""

import json
import math
from typing import Any

from churn_serving.errors import DataError
from churn_serving.train.onnx_trees import Narrow, TreeTable, add_choice


def xgboost_table(classifier: Any) -> TreeTable:
    """Sums to (0, log odds).

    Raises:
        DataError: Its trees are of a kind that the graph cannot hold.
    """
    booster = classifier.get_booster()
    stopped = booster.attr("best_iteration")  # by early stopping; prediction goes no further either
    if stopped is not None:
        booster = booster[: int(stopped) + 1]
    learner = json.loads(booster.save_raw("json"))["learner"]
    trees = learner["gradient_booster"]
    _refuse_unless(trees["name"] == "gbtree", f"XGBoost's booster {trees['name']!r}")
    objective = learner["objective"]["name"]
    _refuse_unless(objective == "binary:logistic", f"XGBoost's objective {objective!r}")
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    table = TreeTable((0.0, math.log(base / (1 - base))))
    for tree_id, tree in enumerate(trees["model"]["trees"]):
        _refuse_unless(not any(tree["split_type"]), "XGBoost's own categorical splits")
        _add_xgboost_tree(table, tree_id, tree)
    return table


def lightgbm_table(classifier: Any, narrow: Narrow) -> TreeTable:
    """Sums to (0, log odds).

    Raises:
        DataError: Its trees are of a kind that the graph cannot hold.
    """
    dump = classifier.booster_.dump_model()
    objective, *settings = dump["objective"].split()
    _refuse_unless(objective == "binary", f"LightGBM's objective {objective!r}")
    _refuse_unless(not dump["average_output"], "LightGBM's random forest")
    slope = float(dict(setting.split(":") for setting in settings).get("sigmoid", 1))
    table = TreeTable((0.0, 0.0))
    for tree_id, tree in enumerate(dump["tree_info"]):
        _add_lightgbm_tree(table, tree_id, _numbered(tree["tree_structure"]), slope, narrow)
    return table


def _add_xgboost_tree(table: TreeTable, tree_id: int, tree: dict[str, Any]) -> None:
    columns, conditions = tree["split_indices"], tree["split_conditions"]
    children = zip(tree["left_children"], tree["right_children"], tree["default_left"], strict=True)
    for node, (left, right, missing_left) in enumerate(children):
        if left == -1:
            table.leaf(tree_id, node, (1, conditions[node]))
        else:
            table.branch(
                tree_id, node, "BRANCH_LT", columns[node], conditions[node],
                true=left, false=right, missing_true=bool(missing_left),
            )  # fmt: skip


def _numbered(root: dict[str, Any]) -> list[dict[str, Any]]:
    nodes = [root]
    for number, node in enumerate(nodes):  # grows while it is walked: a node's number is its place
        node["number"] = number
        nodes += [node[child] for child in ("left_child", "right_child") if child in node]
    return nodes


def _add_lightgbm_tree(
    table: TreeTable, tree_id: int, nodes: list[dict[str, Any]], slope: float, narrow: Narrow
) -> None:
    spare = len(nodes)
    for number, node in enumerate(nodes):
        _refuse_unless("leaf_coeff" not in node, "LightGBM's linear trees")
        if "leaf_value" in node:
            table.leaf(tree_id, number, (1, node["leaf_value"] * slope))
            continue
        column, threshold = node["split_feature"], node["threshold"]
        left, right = node["left_child"]["number"], node["right_child"]["number"]
        if node["decision_type"] == "==":
            named = [float(code) for code in threshold.split("||")]
            spare = add_choice(table, tree_id, number, column, named, target=left, rest=right, spare=spare)
            continue
        table.branch(
            tree_id, number, "BRANCH_LEQ", column, narrow(threshold),
            true=left, false=right, missing_true=_missing_goes_left(node),
        )  # fmt: skip


def _missing_goes_left(node: dict[str, Any]) -> bool:
    _refuse_unless(node["missing_type"] != "Zero", "LightGBM's zero_as_missing")
    if node["missing_type"] == "None":  # none was missing in training: LightGBM takes 0 for it
        return bool(node["threshold"] >= 0)
    return bool(node["default_left"])


def _refuse_unless(known: bool, what: str) -> None:
    if not known:
        raise DataError(f"{what} cannot be converted")
