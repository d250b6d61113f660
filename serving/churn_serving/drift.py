"""How far live customers have moved from those of training: binned counts held against reference.json.

Two measures per feature and for the score, over the bins of the reference and one each for missing values
and for texts never seen:

- PSI, the population stability index, sum((live - reference) * ln(live / reference)) over the bins' shares.
  The usual rule (Siddiqi, Credit Risk Scorecards, 2006): below 0.1 no change to speak of, to 0.25 some,
  above it another population.
- Jensen-Shannon divergence in bits (Lin, 1991): 0 the same, 1 nothing in common.

Half a customer is added to every bin of both sides, or an empty one would make PSI infinite; a bin that is
empty on both sides is left out. Without any drift PSI is still about (bins - 1) * (1 / live + 1 / reference)
(Yurdakul and Naranjo, 2020): nothing is told below 20 live customers a bin, which holds that below about
0.05, nor below `MIN_SAMPLE`.
"""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from churn_serving.bundle.schema import (
    Categorical,
    Feature,
    FeatureReference,
    Manifest,
    Numeric,
    NumericReference,
    Reference,
)
from churn_serving.features import Matrix
from churn_serving.scorer import Probabilities

MIN_SAMPLE = 500
"""Customers below which nothing is told."""
_MIN_PER_BIN = 20
_PENDING = 1024  # rows counted together: counting one row costs as much as counting fifty

Counts = npt.NDArray[np.int64]


class Measured(NamedTuple):
    """One distribution held against its reference. None where the sample is too small.

    Attributes:
        feature: The column; None for the score.
        unseen: Share of texts never seen in training; None for what is no text, too.
        missing: Share of missing values; None for the score, too.
    """

    feature: str | None
    psi: float | None
    jensen_shannon: float | None
    unseen: float | None = None
    missing: float | None = None


class Drift:
    """Counts one model's customers in the bins of its reference.

    Holds two halves of the window, the bins' counts in each, and at most 1,024 rows not counted yet: what is
    told is of the last half to whole window. Belongs to one thread.
    """

    def __init__(
        self,
        manifest: Manifest,
        reference: Reference,
        *,
        window_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._features = manifest.features
        self._half_seconds = window_seconds / 2
        self._clock = clock
        self._began = clock()
        expected = [_expected(feature, reference.features[feature.name]) for feature in manifest.features]
        expected.append(np.array(reference.score.counts, dtype=np.int64))
        self._expected = expected
        self._offsets = np.cumsum([0, *map(len, expected)])
        self._numeric = [
            (index, _scaled_edges(feature, reference.features[feature.name]))
            for index, feature in enumerate(manifest.features)
            if isinstance(feature, Numeric)
        ]
        coded = [index for index, feature in enumerate(manifest.features) if not isinstance(feature, Numeric)]
        shift = [isinstance(manifest.features[index], Categorical) for index in coded]
        self._coded = np.array(coded, dtype=np.intp)
        self._code_offsets = (self._offsets[self._coded] + np.array(shift, dtype=np.intp)).astype(np.float32)
        self._score_edges = np.array(reference.score.edges)
        self._halves = [np.zeros(self._offsets[-1], dtype=np.int64) for _ in range(2)]
        self._samples = [0, 0]
        self._pending = np.empty((_PENDING, len(manifest.features)), dtype=np.float32)
        self._pending_scores = np.empty(_PENDING)
        self._waiting = 0

    def observe(self, matrix: Matrix, probabilities: Probabilities) -> None:
        """Count one call of the model. Both are copied: their memory may be used again."""
        rows = len(matrix)
        if self._waiting + rows > _PENDING:
            self._settle()
            if rows > _PENDING:
                self._count(matrix, probabilities)
                return
        end = self._waiting + rows
        self._pending[self._waiting : end] = matrix
        self._pending_scores[self._waiting : end] = probabilities
        self._waiting = end

    def measure(self) -> tuple[int, list[Measured]]:
        """The window's customers, and each feature and the score held against its reference."""
        self._settle()
        sample = sum(self._samples)
        counts = np.split(self._halves[0] + self._halves[1], self._offsets[1:-1])
        measured = [
            _measure(feature, expected, live, sample)
            for feature, expected, live in zip([*self._features, None], self._expected, counts, strict=True)
        ]
        return sample, measured

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, 0
        self._count(self._pending[:waiting], self._pending_scores[:waiting])

    def _count(self, matrix: Matrix, probabilities: Probabilities) -> None:
        self._turn()
        bins = [(matrix[:, self._coded] + self._code_offsets).ravel()]
        # Only a boolean can be missing as NaN among these; its third bin counts that.
        bad = np.isnan(bins[0])
        if bad.any():
            missing = np.broadcast_to(self._code_offsets + 2, (len(matrix), len(self._coded)))
            bins[0] = np.where(bad, missing.ravel(), bins[0])
        for index, edges in self._numeric:
            column = matrix[:, index]
            found = np.searchsorted(edges, column, side="right")
            found[np.isnan(column)] = len(edges) + 1
            bins.append(found + self._offsets[index])
        scores = probabilities[np.isfinite(probabilities)]
        bins.append(np.searchsorted(self._score_edges, scores, side="right") + self._offsets[-2])
        whole = np.concatenate([part.astype(np.intp, copy=False) for part in bins])
        self._halves[0] += np.bincount(whole, minlength=len(self._halves[0]))
        self._samples[0] += len(matrix)

    def _turn(self) -> None:
        passed = math.floor((self._clock() - self._began) / self._half_seconds)
        for _ in range(min(passed, 2)):
            self._halves = [np.zeros_like(self._halves[0]), self._halves[0]]
            self._samples = [0, self._samples[0]]
        self._began += passed * self._half_seconds


def population_stability(reference: Counts, live: Counts) -> float:
    """PSI of two lists of counts over the same bins, with half a customer more in each."""
    expected, found = _shares(reference, live)
    return float(((found - expected) * np.log(found / expected)).sum())


def jensen_shannon(reference: Counts, live: Counts) -> float:
    """Jensen-Shannon divergence in bits of the same shares, 0 to 1."""
    expected, found = _shares(reference, live)
    middle = (expected + found) / 2
    return float((expected * np.log2(expected / middle) + found * np.log2(found / middle)).sum() / 2)


def _shares(reference: Counts, live: Counts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    used = (reference + live) > 0
    expected, found = reference[used] + 0.5, live[used] + 0.5
    return expected / expected.sum(), found / found.sum()


def _measure(feature: Feature | None, expected: Counts, live: Counts, sample: int) -> Measured:
    name = feature.name if feature else None
    if sample < MIN_SAMPLE:
        return Measured(name, None, None)
    unseen = live[0] / sample if isinstance(feature, Categorical) else None
    missing = live[-1] / sample if feature else None
    if sample < _MIN_PER_BIN * ((expected + live) > 0).sum():
        return Measured(name, None, None, unseen, missing)
    return Measured(
        name, population_stability(expected, live), jensen_shannon(expected, live), unseen, missing
    )


def _expected(feature: Feature, reference: FeatureReference) -> Counts:
    """The reference's counts in our bins: texts never seen, the reference's own, missing."""
    unseen = [0] if isinstance(feature, Categorical) else []
    return np.array([*unseen, *reference.counts, reference.missing], dtype=np.int64)


def _scaled_edges(feature: Numeric, reference: FeatureReference) -> Matrix:
    """Edges as the matrix holds values: rounded as they are, so that a value on its edge stays there."""
    if not isinstance(reference, NumericReference):
        raise TypeError("a loaded bundle's reference is of its feature's kind")
    return ((np.array(reference.edges) - feature.centre) / feature.scale).astype(np.float32)
