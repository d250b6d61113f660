"""Fits a model on the coded matrix, through the same expansion that the graph does when serving."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from churn_serving.bundle.schema import Categorical, Feature, Numeric
from churn_serving.features import Matrix
from churn_serving.train.calibration import Calibration, Calibrator, Floats, fit_calibrator
from churn_serving.train.classifiers import Algorithm, Classifier, log_odds, new_classifier

Churned: TypeAlias = npt.NDArray[np.bool_]

_CALIBRATION_FOLDS = 5


@dataclass(frozen=True)
class Layout:
    """How the coded matrix becomes the classifier's inputs: numbers, missing marks, one-hot columns.

    Attributes:
        values: Columns of numbers and booleans.
        fills: What stands in for a missing one: the typical value, scaled; NaN where the classifier knows
            what to do with it.
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


def build_layout(features: Sequence[Feature], *, takes_missing: bool = False) -> Layout:
    """The expansion that these features need, for a classifier that takes missing numbers or does not."""
    layout = Layout([], [], [], [], [])
    for index, feature in enumerate(features):
        if isinstance(feature, Categorical):
            inputs = len(feature.categories) + feature.nullable
            layout.onehot.extend([index] * inputs)
            layout.codes.extend(float(code) for code in range(inputs))
            continue
        layout.values.append(index)
        layout.fills.append(math.nan if takes_missing else _fill(feature))
        if feature.nullable and not takes_missing:
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


@dataclass(frozen=True)
class Recipe:
    """What to fit, apart from the rows.

    Attributes:
        parameters: Of the classifier, in place of our defaults.
    """

    algorithm: Algorithm
    features: Sequence[Feature]
    seed: int
    calibration: Calibration | None = None
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def fit(recipe: Recipe, matrix: Matrix, churned: Churned) -> Fitted:
    """Fit on the coded matrix (rows, features).

    On one thread: with several, sums come in another order and the same input gives another digest.
    """
    with threadpool_limits(limits=1):
        fitted = _fit(recipe, matrix, churned)
        if recipe.calibration is None:
            return fitted
        unseen = np.empty(len(matrix))
        few = min(int(churned.sum()), int((~churned).sum()))
        folds = StratifiedKFold(min(_CALIBRATION_FOLDS, few), shuffle=True, random_state=recipe.seed)
        for rest, fold in folds.split(matrix, churned):
            part = _fit(recipe, matrix[rest], churned[rest])
            unseen[fold] = log_odds(part.classifier, _inputs(part, matrix[fold]))
        return replace(fitted, calibrator=fit_calibrator(recipe.calibration, unseen, churned))


def predict(fitted: Fitted, matrix: Matrix) -> Floats:
    """Probability of churn per row of the coded matrix, as the classifier's library gives it."""
    inputs = _inputs(fitted, matrix)
    with threadpool_limits(limits=1):
        if fitted.calibrator is not None:
            return fitted.calibrator.apply(log_odds(fitted.classifier, inputs))
        return np.asarray(fitted.classifier.predict_proba(inputs)[:, 1], dtype=np.float64)


def _fit(recipe: Recipe, matrix: Matrix, churned: Churned) -> Fitted:
    layout = _layout(recipe)
    inputs = matrix if layout is None else expand(layout, matrix)
    classifier = new_classifier(
        recipe.algorithm, recipe.features, len(matrix), recipe.seed, recipe.parameters
    )
    return Fitted(recipe.features, layout, classifier.fit(inputs, churned))


def _layout(recipe: Recipe) -> Layout | None:
    if recipe.algorithm is Algorithm.HIST_GRADIENT_BOOSTING:
        return None  # takes missing values and codes of categories as they are
    return build_layout(recipe.features, takes_missing=recipe.algorithm.library is not None)


def _inputs(fitted: Fitted, matrix: Matrix) -> Matrix:
    return matrix if fitted.layout is None else expand(fitted.layout, matrix)


def _fill(feature: Feature) -> float:
    if isinstance(feature, Numeric):
        return (feature.typical - feature.centre) / feature.scale
    return float(feature.typical is True)
