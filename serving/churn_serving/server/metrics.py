"""What is measured, and how Prometheus gets it.

Counts are plain numbers while serving (an `observe` of the client library costs a fifth of a request's
budget) and become metric families only when somebody scrapes.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from churn_serving.bundle.schema import Categorical, Manifest, Numeric
from churn_serving.features import Matrix
from churn_serving.routing import Route
from churn_serving.scorer import Probabilities

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

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
        for position, count in zip(*np.unique(positions, return_counts=True), strict=True):
            self.counts[position] += int(count)
        self.total += float(values.sum())

    def buckets(self) -> list[tuple[str, float]]:
        names = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))


class ModelMetrics:
    """Counts of one loaded model."""

    def __init__(self, manifest: Manifest) -> None:
        self.churn = self.stay = 0
        self.inference = Histogram(_INFERENCE_SECONDS)
        self.batch_rows = Histogram(_ROWS)
        self.probability = Histogram(_PROBABILITY)
        features = manifest.features
        self._low, self._high = _training_range(manifest)
        self.below, self.above, self.nan = (np.zeros(len(features), dtype=np.int64) for _ in range(3))

    def observe(self, matrix: Matrix, probabilities: Probabilities, seconds: float) -> None:
        """Count one call of the model."""
        self.inference.observe(seconds)
        self.batch_rows.observe(len(matrix))
        finite = probabilities[np.isfinite(probabilities)]
        self.probability.observe_all(finite)
        if not (
            (matrix >= self._low) & (matrix <= self._high)
        ).all():  # seldom: one look, and counting only then
            self.below += (matrix < self._low).sum(axis=0)
            self.above += (matrix > self._high).sum(axis=0)
            self.nan += np.isnan(matrix).sum(axis=0)


class Metrics(Collector):
    """All metrics of the process, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.durations: dict[str, Histogram] = {}
        self.request_bytes: dict[str, Histogram] = {}
        self.response_bytes: dict[str, Histogram] = {}
        self.errors: Counter[str] = Counter()
        self.reloads: Counter[str] = Counter({"applied": 0, "refused": 0})
        self.start_seconds = 0.0
        self._models: dict[str | None, tuple[Route, ModelMetrics]] = {}
        self._name = ""
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def model(self, name: str, route: Route) -> ModelMetrics:
        """The counts of a route's model; the first call makes them, a later one follows its new threshold."""
        self._name = name
        _, counts = self._models.get(route.revision) or (route, ModelMetrics(route.model.manifest))
        self._models[route.revision] = (route, counts)
        return counts

    def observe_request(
        self, route: str, method: str, status: int, *, seconds: float, received: int, sent: int
    ) -> None:
        """Count one answered request. `route` is the path's template: paths are the caller's to invent."""
        self.requests[route, method, status] += 1
        if route not in self.durations:
            self.durations[route] = Histogram(_SECONDS)
            self.request_bytes[route], self.response_bytes[route] = Histogram(_BYTES), Histogram(_BYTES)
        self.durations[route].observe(seconds)
        self.request_bytes[route].observe(received)
        self.response_bytes[route].observe(sent)

    def render(self) -> bytes:
        """The text that a scrape gets."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        yield from self._collect_http()
        yield from self._collect_models()
        yield from self._collect_features()

    def _collect_http(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "http_requests", "Requests answered on the traffic port.", labels=["route", "method", "status"]
        )
        for (route, method, status), count in self.requests.items():
            requests.add_metric([route, method, str(status)], count)
        yield requests
        for name, text, histograms in (
            (
                "http_request_duration_seconds",
                "From the request's headers to the reply's last byte.",
                self.durations,
            ),
            ("http_request_size_bytes", "Bodies received.", self.request_bytes),
            ("http_response_size_bytes", "Bodies sent.", self.response_bytes),
        ):
            family = HistogramMetricFamily(name, text, labels=["route"])
            for route, histogram in histograms.items():
                family.add_metric([route], histogram.buckets(), histogram.total)
            yield family
        errors = CounterMetricFamily("model_errors", "Requests refused or failed, by code.", labels=["code"])
        for code, count in self.errors.items():
            errors.add_metric([code], count)
        yield errors
        reloads = CounterMetricFamily(
            "serving_config_reloads", "Changes of serving.json seen.", labels=["result"]
        )
        for result, count in self.reloads.items():
            reloads.add_metric([result], count)
        yield reloads
        start = "From the start of the process to ready."
        yield GaugeMetricFamily("server_start_duration_seconds", start, value=self.start_seconds)

    def _collect_models(self) -> Iterator[Metric]:
        labels = ["model", "version", "revision"]
        info = InfoMetricFamily("model", "Models loaded.")
        predictions = CounterMetricFamily(
            "model_predictions", "Customers scored.", labels=[*labels, "outcome"]
        )
        load = GaugeMetricFamily(
            "model_load_duration_seconds", "Verifying and loading the bundle.", labels=labels
        )
        threshold = GaugeMetricFamily(
            "model_threshold", "Probability from which churn is said.", labels=labels
        )
        inference = HistogramMetricFamily(
            "model_inference_duration_seconds", "One call of the model.", labels=labels
        )
        rows = HistogramMetricFamily("model_batch_rows", "Customers scored in one call.", labels=labels)
        probability = HistogramMetricFamily("model_probability", "Probabilities given.", labels=labels)
        for route, counts in self._models.values():
            model, manifest = route.model, route.model.manifest
            values = [self._name, manifest.version, route.revision or ""]
            named = dict(zip(labels, values, strict=True)) | {
                "digest": model.digest,
                "algorithm": manifest.algorithm,
            }
            info.add_metric([], named)
            predictions.add_metric([*values, "churn"], counts.churn)
            predictions.add_metric([*values, "stay"], counts.stay)
            load.add_metric(values, model.load_seconds)
            threshold.add_metric(values, route.threshold)
            for family, histogram in (
                (inference, counts.inference),
                (rows, counts.batch_rows),
                (probability, counts.probability),
            ):
                family.add_metric(values, histogram.buckets(), histogram.total)
        yield from (info, predictions, load, threshold, inference, rows, probability)

    def _collect_features(self) -> Iterator[Metric]:
        labels = ["model", "version", "revision", "feature"]
        outside = CounterMetricFamily(
            "model_feature_out_of_range", "Numbers scored outside the training range.", labels=labels
        )
        unseen = CounterMetricFamily(
            "model_feature_unseen_category", "Texts scored that training never saw.", labels=labels
        )
        missing = CounterMetricFamily("model_feature_missing", "Values scored as missing.", labels=labels)
        for route, counts in self._models.values():
            manifest = route.model.manifest
            for index, feature in enumerate(manifest.features):
                values = [self._name, manifest.version, route.revision or "", feature.name]
                is_text = isinstance(feature, Categorical)
                if isinstance(feature, Numeric):
                    outside.add_metric(values, int(counts.below[index] + counts.above[index]))
                elif is_text:
                    unseen.add_metric(values, int(counts.below[index]))
                if feature.nullable:
                    missing.add_metric(values, int((counts.above if is_text else counts.nan)[index]))
        yield from (outside, unseen, missing)


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
