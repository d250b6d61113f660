"""Settings of a classifier that suit the data better: a random search, judged by cross-validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import ParameterGrid, ParameterSampler

from churn_serving.features import Matrix
from churn_serving.train.classifiers import Algorithm
from churn_serving.train.pipeline import Churned, Recipe, fit, predict
from churn_serving.train.split import Indices

Space: TypeAlias = Mapping[str, Sequence[Any]]

_TREES: Space = {"n_estimators": [50, 100, 200, 400], "learning_rate": [0.02, 0.05, 0.1, 0.2]}

SPACES: Mapping[Algorithm, Space] = {
    Algorithm.LOGISTIC: {"C": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]},
    Algorithm.GRADIENT_BOOSTING: {
        **_TREES,
        "max_depth": [2, 3, 4, 5],
        "min_samples_leaf": [1, 10, 50],
        "subsample": [0.6, 0.8, 1.0],
    },
    Algorithm.HIST_GRADIENT_BOOSTING: {
        "max_iter": [50, 100, 200, 400],
        "learning_rate": [0.02, 0.05, 0.1, 0.2],
        "max_leaf_nodes": [7, 15, 31],
        "min_samples_leaf": [10, 20, 50, 100],
        "l2_regularization": [0.0, 0.1, 1.0, 10.0],
    },
    # No leaves below ten rows: the graph would grow with the data.
    Algorithm.RANDOM_FOREST: {
        "n_estimators": [100, 200, 400],
        "min_samples_leaf": [10, 20, 50],
        "max_features": ["sqrt", 0.3, 0.5],
    },
    Algorithm.XGBOOST: {
        **_TREES,
        "max_depth": [2, 3, 4, 6],
        "min_child_weight": [1, 5, 20],
        "subsample": [0.6, 0.8, 1.0],
        "colsample_bytree": [0.5, 0.8, 1.0],
        "reg_lambda": [0.1, 1.0, 10.0],
    },
    Algorithm.LIGHTGBM: {
        **_TREES,
        "num_leaves": [7, 15, 31],
        "min_child_samples": [10, 20, 50, 100],
        "colsample_bytree": [0.5, 0.8, 1.0],
        "reg_lambda": [0.0, 0.1, 1.0, 10.0],
    },
}
"""What may be chosen; settings that are not named stay as `classifiers` has them."""


@dataclass(frozen=True)
class Candidate:
    """Settings and their AUC, mean over the folds. No settings are the defaults."""

    parameters: Mapping[str, Any]
    auc: float


@dataclass(frozen=True)
class Found:
    """What the search tried, the defaults first, and what it chose: the best, of equals the first."""

    candidates: Sequence[Candidate]
    chosen: Candidate
    folds: int
    space: Space


Report: TypeAlias = Callable[[int, int, float], None]
"""Told after each candidate: how many are done, of how many, the best AUC so far."""


def search(
    recipe: Recipe,
    matrix: Matrix,
    churned: Churned,
    parts: Sequence[tuple[Indices, Indices]],
    *,
    count: int,
    report: Report,
) -> Found:
    """Try the defaults and `count` settings of the algorithm's space, or all of them where it has fewer.

    Args:
        recipe: Its algorithm says which space, its seed which settings are drawn.
        matrix: The coded matrix.
        churned: Per row.
        parts: Rows to fit on and rows to judge on. The holdout is in neither.
        count: Settings to draw.
        report: Told of the progress.
    """
    space = SPACES[recipe.algorithm]
    uncalibrated = replace(recipe, calibration=None)  # which does not change who is ranked first
    drawn = ParameterSampler(
        dict(space), min(count, len(ParameterGrid(dict(space)))), random_state=recipe.seed
    )
    candidates: list[Candidate] = []
    settings: list[Mapping[str, Any]] = [{}, *drawn]
    for parameters in settings:
        aucs = []
        for fit_rows, test_rows in parts:
            fitted = fit(replace(uncalibrated, parameters=parameters), matrix[fit_rows], churned[fit_rows])
            aucs.append(roc_auc_score(churned[test_rows], predict(fitted, matrix[test_rows])))
        candidates.append(Candidate(parameters, round(float(np.mean(aucs)), 6)))
        report(len(candidates), len(settings), max(candidate.auc for candidate in candidates))
    chosen = max(candidates, key=lambda candidate: candidate.auc)
    return Found(candidates, chosen, len(parts), space)
