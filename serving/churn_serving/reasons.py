"""Why a probability is what it is: each column in turn set to its typical value, and scored again.

A column's points are `probability - probability with that column typical`: what this customer's value adds
(or, below 0, takes away), in the unit of the probability itself, 0.12 being 12 points in a hundred. That is
exact for the question it answers, "what if only this column were typical", and needs nothing of the model
but its probabilities. It is no share of a whole: columns that act together are each counted, or neither is,
so the points of all columns need not add up. `rest` says by how much.

The question is that of Goldstein et al., "Peeking Inside the Black Box" (2015), asked of one other value, as
in the first order terms of Sobol's indices; Shapley values do add up, and cost 2^columns rows instead of one
a column.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from churn_serving.bundle.schema import Feature, Manifest, Numeric
from churn_serving.features import Encoder, Matrix, to_matrix
from churn_serving.scorer import DECIMALS, Probabilities, Scorer

MAX_CELLS = 4 << 20
"""Numbers in one call of the model at most: 16 MiB. Some 11,000 customers of twenty columns."""


class Reason(Struct, frozen=True, gc=False):
    """What one column does to one customer's probability."""

    column: str
    value: float | bool | str | None
    """As the record gave it."""
    typical: float | bool | str
    """What it was replaced by: the training rows' median or most frequent value."""
    points: float
    """The customer's probability less the probability with this column typical, to six decimals."""


class Explanation(Struct, frozen=True, gc=False):
    """`probability = typical_probability + the points of these reasons + rest`, to six decimals."""

    reasons: list[Reason]
    """Largest first whatever the sign; equals in the columns' order. A column without effect is none."""
    typical_probability: float
    """Of a customer with the typical value in every column."""
    rest: float
    """What the listed points leave over: columns not listed, and what columns do only together."""


class Ranked(NamedTuple):
    """One customer's scores in order.

    Attributes:
        probability: The customer's own, published; NaN where the model gives none, or no reasons for it.
        typical_probability: Of the customer who is typical in all.
        order: Every column's position, strongest first.
        points: Theirs.
    """

    probability: float
    typical_probability: float
    order: list[int]
    points: list[float]


class Explainer:
    """Scores customers together with what explains them. Stateless, so safe to share."""

    def __init__(self, manifest: Manifest, encoder: Encoder, scorer: Scorer) -> None:
        self._scorer = scorer
        self._shown = [(feature.name, typical_value(feature)) for feature in manifest.features]
        typical = encoder.encode([dict(self._shown)]).rows
        self._typical = to_matrix(typical, len(self._shown))

    def probabilities(self, matrix: Matrix) -> Probabilities:
        """Scores of customers and of their variations, in one call of the model up to `MAX_CELLS`.

        Args:
            matrix: (rows, features), encoded.

        Returns:
            (rows, features + 2), float64: the customer's own probability; for each feature that with this
            feature typical; that of the customer who is typical in all.
        """
        rows, width = matrix.shape
        step = max(1, MAX_CELLS // ((width + 1) * width))
        parts = [self._vary(matrix[start : start + step]) for start in range(0, rows, step)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def rank(self, scored: Probabilities) -> list[Ranked]:
        """Every column's points, strongest first, of all customers of a call at once.

        Args:
            scored: What `probabilities` gave.
        """
        published = np.round(np.where(np.isfinite(scored), scored, np.nan), DECIMALS)
        points = np.round(published[:, :1] - published[:, 1:-1], DECIMALS)
        # Stable: equals stand in the columns' order.
        order = np.argsort(-np.abs(points), axis=1, kind="stable")
        sorted_points = np.take_along_axis(points, order, axis=1)
        # A variation can overflow where the customer does not: without it there are no reasons.
        own = np.where(np.isnan(published).any(axis=1), np.nan, published[:, 0])
        columns = (own, published[:, -1], order, sorted_points)
        return list(map(Ranked, *[column.tolist() for column in columns]))

    def explain(self, ranked: Ranked, record: Mapping[str, Any], count: int) -> Explanation:
        """The `count` strongest reasons of one customer.

        Args:
            ranked: Of a finite probability.
            record: As it came: its values are shown.
            count: Reasons at most; fewer where fewer columns have an effect.
        """
        reasons = []
        for column, points in zip(ranked.order[:count], ranked.points[:count], strict=True):
            if points:
                name, typical = self._shown[column]
                reasons.append(Reason(name, record[name], typical, points))
        rest = ranked.probability - ranked.typical_probability - sum(ranked.points[:count])
        return Explanation(reasons, ranked.typical_probability, round(rest, DECIMALS) + 0.0)

    def _vary(self, matrix: Matrix) -> Probabilities:
        rows, width = matrix.shape
        flat: npt.NDArray[np.float32] = np.empty((rows * (width + 1) + 1, width), dtype=np.float32)
        varied = flat[:-1].reshape(rows, width + 1, width)
        varied[:] = matrix[:, None, :]
        each = np.arange(width)
        varied[:, each + 1, each] = self._typical
        flat[-1] = self._typical
        found = self._scorer.probabilities(flat)
        scored = np.empty((rows, width + 2))
        scored[:, :-1] = found[:-1].reshape(rows, width + 1)
        scored[:, -1] = found[-1]
        # The same row may differ in its last bit by its place in a batch: a value that is typical has no
        # points at all.
        np.copyto(scored[:, 1:-1], scored[:, :1], where=matrix == self._typical)
        return scored


def typical_value(feature: Feature) -> float | bool | str:
    """The feature's typical value as a record holds it: a whole number as an integer."""
    if isinstance(feature, Numeric) and feature.typical.is_integer():
        return int(feature.typical)
    return feature.typical
