"""What is measured: plain numbers, counted while serving.

An `observe` of Prometheus' client library costs a fifth of a request's budget, so it is asked only when
somebody scrapes (`exposition`). What is seen is kept as it came and counted some hundreds at a time (`fold`).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from churn_serving.bundle.schema import Categorical, Manifest, Numeric
from churn_serving.drift import Drift
from churn_serving.features import Matrix
from churn_serving.routing import Failure, Route
from churn_serving.scorer import Probabilities
from churn_serving.server.mounted import Mounted

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_INFERENCE_SECONDS = (
    0.00001,
    0.000025,
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.05,
    0.1,
    1,
)
_BYTES = (256, 1024, 4096, 16384, 65536, 262144, 1 << 20, 4 << 20, 16 << 20)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_PROBABILITY = tuple(round(step / 20, 2) for step in range(1, 21))


_FOLD = 1024
"""Rows or requests that wait to be counted, at most."""


class Histogram:
    """Counts per bucket; `bounds` are inclusive upper ones."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Probabilities) -> None:
        positions = np.searchsorted(self.bounds, values)
        found = np.bincount(positions, minlength=len(self.counts)).tolist()
        self.counts = [count + more for count, more in zip(self.counts, found, strict=True)]
        self.total += float(values.sum())

    def buckets(self) -> list[tuple[str, float]]:
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))


class ModelMetrics:
    """Counts of one loaded model."""

    drift: Drift | None = None

    def __init__(self, manifest: Manifest) -> None:
        self.churn = self.stay = 0
        self.inference = Histogram(_INFERENCE_SECONDS)
        self.batch_rows = Histogram(_ROWS)
        self.probability = Histogram(_PROBABILITY)
        features = manifest.features
        self._low, self._high = _training_range(manifest)
        self.below, self.above, self.nan = (np.zeros(len(features), dtype=np.int64) for _ in range(3))
        self._seen: list[tuple[Matrix, Probabilities]] = []
        self._seen_rows = 0

    def observe(self, matrix: Matrix, probabilities: Probabilities, seconds: float) -> None:
        """Count one call of the model."""
        self.inference.observe(seconds)
        self.batch_rows.observe(len(matrix))
        self._seen.append((matrix, probabilities))
        self._seen_rows += len(matrix)
        if self._seen_rows >= _FOLD:
            self.fold()

    def fold(self) -> None:
        """Count the rows seen since the last time."""
        if not self._seen:
            return
        seen, self._seen, self._seen_rows = self._seen, [], 0
        self._count(
            np.concatenate([matrix for matrix, _ in seen]),
            np.concatenate([probabilities for _, probabilities in seen]),
        )

    def _count(self, matrix: Matrix, probabilities: Probabilities) -> None:
        finite = probabilities[np.isfinite(probabilities)]
        self.probability.observe_all(finite)
        if not (
            (matrix >= self._low) & (matrix <= self._high)
        ).all():  # seldom: one look, and counting only then
            self.below += (matrix < self._low).sum(axis=0)
            self.above += (matrix > self._high).sum(axis=0)
            self.nan += np.isnan(matrix).sum(axis=0)
        if self.drift is not None:
            self.drift.observe(matrix, probabilities)


class Metrics:
    """All counts of the process."""

    failures: tuple[Failure, ...] = ()
    mounted: tuple[Mounted[Any], ...] = ()

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.durations: dict[str, Histogram] = {}
        self.request_bytes: dict[str, Histogram] = {}
        self.response_bytes: dict[str, Histogram] = {}
        self.errors: Counter[str] = Counter()
        self.callers: Counter[tuple[str, int]] = Counter()
        self.reloads: Counter[str] = Counter({"applied": 0, "refused": 0})
        self.start_seconds = 0.0
        self.models: dict[str | None, tuple[Route, ModelMetrics]] = {}
        self.name = ""
        self._answered: dict[tuple[str, str, int], list[tuple[float, int, int]]] = {}

    def model(self, name: str, route: Route) -> ModelMetrics:
        """The counts of a route's model; the first call makes them, a later one follows its new threshold."""
        self.name = name
        _, counts = self.models.get(route.revision) or (route, ModelMetrics(route.model.manifest))
        self.models[route.revision] = (route, counts)
        return counts

    def observe_request(
        self, route: str, method: str, status: int, *, seconds: float, received: int, sent: int
    ) -> None:
        """Count one answered request. `route` is the path's template: paths are the caller's to invent."""
        samples = self._answered.setdefault((route, method, status), [])
        samples.append((seconds, received, sent))
        if len(samples) >= _FOLD:
            self.fold()

    def refuse(self, code: str, status: int, sent: int) -> None:
        """Count what was answered before it was a request."""
        self.errors[code] += 1
        self.observe_request("unmatched", "OTHER", status, seconds=0.0, received=0, sent=sent)

    def fold(self) -> None:
        """Count what was answered and scored since the last time."""
        answered, self._answered = self._answered, {}
        for (route, method, status), samples in answered.items():
            self.requests[route, method, status] += len(samples)
            if route not in self.durations:
                self.durations[route] = Histogram(_SECONDS)
                self.request_bytes[route], self.response_bytes[route] = Histogram(_BYTES), Histogram(_BYTES)
            seconds, received, sent = np.array(samples, dtype=np.float64).T
            self.durations[route].observe_all(seconds)
            self.request_bytes[route].observe_all(received)
            self.response_bytes[route].observe_all(sent)
        for _, counts in self.models.values():
            counts.fold()


def _training_range(manifest: Manifest) -> tuple[Matrix, Matrix]:
    """Lowest and highest code per feature: unseen texts (-1) lie below, missing ones (the last) above."""
    low, high = [], []
    for feature in manifest.features:
        match feature:
            case Numeric():
                low.append((feature.minimum - feature.centre) / feature.scale)
                high.append((feature.maximum - feature.centre) / feature.scale)
            case Categorical():
                low.append(0)
                high.append(len(feature.categories) - 1)
            case _:
                low.append(0)
                high.append(1)
    return np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)
