"""Fits a model on the coded matrix, through the same expansion that the graph does when serving."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from churn_serving.bundle.schema import Categorical, Feature, Numeric
from churn_serving.features import Matrix
from churn_serving.train.calibration import Calibration, Calibrator, Floats, fit_calibrator

Classifier: TypeAlias = (
    LogisticRegression | GradientBoostingClassifier | RandomForestClassifier | HistGradientBoostingClassifier
)
Churned: TypeAlias = npt.NDArray[np.bool_]

LEAST_SHARE = 1e-4
"""A forest's share of votes is taken as at least this much before its log odds are calibrated."""

_CALIBRATION_FOLDS = 5


class Algorithm(StrEnum):
    """What can be trained."""

    LOGISTIC = "logistic"
    GRADIENT_BOOSTING = "gradient-boosting"
    HIST_GRADIENT_BOOSTING = "hist-gradient-boosting"
    RANDOM_FOREST = "random-forest"


@dataclass(frozen=True)
class Layout:
    """How the coded matrix becomes the classifier's inputs: numbers, missing marks, one-hot columns.

    Attributes:
        values: Columns of numbers and booleans.
        fills: What stands in for a missing one: the typical value, scaled.
        marks: Columns whose being missing is an input of its own.
        onehot: For each one-hot input, its column
        codes: and its code. A category never seen (-1) sets none of them.
    """

    values: list[int]
    fills: list[float]
    marks: list[int]
    onehot: list[int]
    codes: list[float]

    @property
    def width(self) -> int:
        """Number of the classifier's inputs."""
        return len(self.values) + len(self.marks) + len(self.codes)


def build_layout(features: Sequence[Feature]) -> Layout:
    """The expansion that these features need."""
    layout = Layout([], [], [], [], [])
    for index, feature in enumerate(features):
        if isinstance(feature, Categorical):
            inputs = len(feature.categories) + feature.nullable
            layout.onehot.extend([index] * inputs)
            layout.codes.extend(float(code) for code in range(inputs))
            continue
        layout.values.append(index)
        layout.fills.append(_fill(feature))
        if feature.nullable:
            layout.marks.append(index)
    return layout


def expand(layout: Layout, matrix: Matrix) -> Matrix:
    """The classifier's inputs, float32 (rows, layout.width), from the coded matrix (rows, features)."""
    values = matrix[:, layout.values]
    filled = np.where(np.isnan(values), np.array(layout.fills, dtype=np.float32), values)
    marks = np.isnan(matrix[:, layout.marks])
    onehot = matrix[:, layout.onehot] == np.array(layout.codes, dtype=np.float32)
    return np.concatenate([filled, marks, onehot], axis=1, dtype=np.float32)


@dataclass(frozen=True)
class Fitted:
    """A fitted model: all that its graph is built from.

    Attributes:
        features: The coded matrix's columns.
        layout: Expansion to the classifier's inputs; None where it takes the coded matrix as it is, with
            missing values and categories of its own.
        calibrator: What makes probabilities of the classifier's log odds; None where it gives them itself.
    """

    features: Sequence[Feature]
    layout: Layout | None
    classifier: Classifier
    calibrator: Calibrator | None = None


def fit(
    algorithm: Algorithm,
    features: Sequence[Feature],
    matrix: Matrix,
    churned: Churned,
    *,
    seed: int,
    calibration: Calibration | None = None,
) -> Fitted:
    """Fit on the coded matrix (rows, features).

    On one thread: with several, sums come in another order and the same input gives another digest.
    """
    with threadpool_limits(limits=1):
        fitted = _fit(algorithm, features, matrix, churned, seed)
        if calibration is None:
            return fitted
        unseen = np.empty(len(matrix))
        few = min(int(churned.sum()), int((~churned).sum()))
        folds = StratifiedKFold(min(_CALIBRATION_FOLDS, few), shuffle=True, random_state=seed)
        for rest, fold in folds.split(matrix, churned):
            unseen[fold] = _log_odds(
                _fit(algorithm, features, matrix[rest], churned[rest], seed), matrix[fold]
            )
        return replace(fitted, calibrator=fit_calibrator(calibration, unseen, churned))


def predict(fitted: Fitted, matrix: Matrix) -> Floats:
    """Probability of churn per row of the coded matrix, as scikit-learn gives it."""
    with threadpool_limits(limits=1):
        if fitted.calibrator is not None:
            return fitted.calibrator.apply(_log_odds(fitted, matrix))
        return np.asarray(fitted.classifier.predict_proba(_inputs(fitted, matrix))[:, 1], dtype=np.float64)


def _fit(
    algorithm: Algorithm, features: Sequence[Feature], matrix: Matrix, churned: Churned, seed: int
) -> Fitted:
    takes_codes = algorithm is Algorithm.HIST_GRADIENT_BOOSTING
    layout = None if takes_codes else build_layout(features)
    inputs = matrix if layout is None else expand(layout, matrix)
    classifier = _classifier(algorithm, features, len(matrix), seed)
    return Fitted(features, layout, classifier.fit(inputs, churned))


def _classifier(algorithm: Algorithm, features: Sequence[Feature], rows: int, seed: int) -> Classifier:
    match algorithm:
        case Algorithm.LOGISTIC:
            return LogisticRegression(max_iter=2000)
        case Algorithm.GRADIENT_BOOSTING:
            return GradientBoostingClassifier(random_state=seed)
        case Algorithm.RANDOM_FOREST:
            # A thousandth of the rows in each leaf at least: the graph stays a few MB however many there are.
            leaf = max(10, rows // 1000)
            return RandomForestClassifier(n_estimators=200, min_samples_leaf=leaf, random_state=seed)
        case Algorithm.HIST_GRADIENT_BOOSTING:
            categorical = [isinstance(feature, Categorical) for feature in features]
            return HistGradientBoostingClassifier(
                learning_rate=0.05,
                max_leaf_nodes=15,
                categorical_features=categorical if any(categorical) else None,
                random_state=seed,
            )


def _inputs(fitted: Fitted, matrix: Matrix) -> Matrix:
    return matrix if fitted.layout is None else expand(fitted.layout, matrix)


def _log_odds(fitted: Fitted, matrix: Matrix) -> Floats:
    inputs = _inputs(fitted, matrix)
    if isinstance(fitted.classifier, RandomForestClassifier):
        shares = np.log(np.maximum(fitted.classifier.predict_proba(inputs), LEAST_SHARE))
        return np.asarray(shares[:, 1] - shares[:, 0], dtype=np.float64)
    return np.asarray(fitted.classifier.decision_function(inputs), dtype=np.float64)


def _fill(feature: Feature) -> float:
    if isinstance(feature, Numeric):
        return (feature.typical - feature.centre) / feature.scale
    return float(feature.typical is True)
