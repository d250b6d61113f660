"""Calibration: from a classifier's log odds to probabilities that come true as often as they say.

Fitted on log odds that the classifier gave rows it had not seen, and carried out inside the graph.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

Floats: TypeAlias = npt.NDArray[np.float64]

_DECIMALS = 1


class Calibration(StrEnum):
    """How to calibrate: sigmoid suits few rows, isotonic follows any rising curve where rows are many."""

    SIGMOID = "sigmoid"
    ISOTONIC = "isotonic"


@dataclass(frozen=True)
class Sigmoid:
    """Probability = 1 / (1 + exp(-(slope * log odds + offset))), after Platt."""

    slope: float
    offset: float

    def apply(self, log_odds: Floats) -> Floats:
        """Probability of churn per row."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * log_odds + self.offset))), dtype=np.float64)


@dataclass(frozen=True)
class Isotonic:
    """Straight lines between knots of (log odds, probability), level outside of them.

    Fitted here, knots are at least 0.1 of log odds apart. Nearer ones make steps so steep that float32 falls
    on either side.
    """

    knots: list[float]
    probabilities: list[float]

    def apply(self, log_odds: Floats) -> Floats:
        """Probability of churn per row."""
        return np.asarray(np.interp(log_odds, self.knots, self.probabilities), dtype=np.float64)


Calibrator: TypeAlias = Sigmoid | Isotonic


def fit_calibrator(method: Calibration, log_odds: Floats, churned: npt.NDArray[np.bool_]) -> Calibrator:
    """Fit on what the classifier said of rows that it was not fitted on."""
    return _sigmoid(log_odds, churned) if method is Calibration.SIGMOID else _isotonic(log_odds, churned)


def _sigmoid(log_odds: Floats, churned: npt.NDArray[np.bool_]) -> Sigmoid:
    line = LogisticRegression(C=1e6).fit(log_odds[:, None], churned)
    return Sigmoid(float(line.coef_[0, 0]), float(line.intercept_[0]))


def _isotonic(log_odds: Floats, churned: npt.NDArray[np.bool_]) -> Isotonic:
    return isotonic_through(
        IsotonicRegression(out_of_bounds="clip").fit(np.round(log_odds, _DECIMALS), churned)
    )


def isotonic_through(fitted: IsotonicRegression) -> Isotonic:
    """The line that a fitted regression follows."""
    knots, probabilities = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
    if len(knots) == 1:  # the classifier cannot tell anybody apart
        knots, probabilities = [knots[0], knots[0] + 1], probabilities * 2
    return Isotonic(knots, probabilities)
