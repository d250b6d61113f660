"""Fits a model on the coded matrix, through the same expansion that the graph does when serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from churn_serving.bundle.schema import Categorical, Feature, Numeric
from churn_serving.features import Matrix

Classifier: TypeAlias = LogisticRegression | GradientBoostingClassifier


class Algorithm(StrEnum):
    """What can be trained."""

    LOGISTIC = "logistic"
    GRADIENT_BOOSTING = "gradient-boosting"


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


def fit(algorithm: Algorithm, inputs: Matrix, churned: npt.NDArray[np.bool_], seed: int) -> Classifier:
    """Fit on one thread: with several, sums come in another order and the same input gives another digest."""
    classifier: Classifier = (
        LogisticRegression(max_iter=2000)
        if algorithm is Algorithm.LOGISTIC
        else GradientBoostingClassifier(random_state=seed)
    )
    with threadpool_limits(limits=1):
        return classifier.fit(inputs, churned)


def predict(classifier: Classifier, inputs: Matrix) -> npt.NDArray[np.float64]:
    """Probability of churn per row as scikit-learn gives it."""
    return np.asarray(classifier.predict_proba(inputs)[:, 1], dtype=np.float64)


def _fill(feature: Feature) -> float:
    if isinstance(feature, Numeric):
        return (feature.typical - feature.centre) / feature.scale
    return float(feature.typical is True)
