"""The counts as Prometheus reads them: every metric's name, labels and help text."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from churn_serving.bundle.schema import Categorical, Numeric
from churn_serving.server.drift_metrics import collect_drift
from churn_serving.server.metrics import Metrics

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Exposition(Collector):
    """Presents the counts on a registry."""

    def __init__(self, metrics: Metrics, registry: CollectorRegistry) -> None:
        self._metrics = metrics
        self._registry = registry
        registry.register(self)
        ProcessCollector(registry=registry)

    def render(self) -> bytes:
        """The text that a scrape gets."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        self._metrics.fold()
        yield from self._collect_http()
        yield from self._collect_models()
        yield from self._collect_features()
        yield from collect_drift(self._metrics)

    def _collect_http(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "http_requests", "Requests answered on the traffic port.", labels=["route", "method", "status"]
        )
        for (route, method, status), count in self._metrics.requests.items():
            requests.add_metric([route, method, str(status)], count)
        yield requests
        for name, text, histograms in (
            (
                "http_request_duration_seconds",
                "From the request's headers to the reply's last byte.",
                self._metrics.durations,
            ),
            ("http_request_size_bytes", "Bodies received.", self._metrics.request_bytes),
            ("http_response_size_bytes", "Bodies sent.", self._metrics.response_bytes),
        ):
            family = HistogramMetricFamily(name, text, labels=["route"])
            for route, histogram in histograms.items():
                family.add_metric([route], histogram.buckets(), histogram.total)
            yield family
        errors = CounterMetricFamily("model_errors", "Requests refused or failed, by code.", labels=["code"])
        for code, count in self._metrics.errors.items():
            errors.add_metric([code], count)
        yield errors
        reloads = CounterMetricFamily(
            "serving_config_reloads", "Changes of serving.json seen.", labels=["result"]
        )
        for result, count in self._metrics.reloads.items():
            reloads.add_metric([result], count)
        yield reloads
        yield from self._collect_access()
        start = "From the start of the process to ready."
        yield GaugeMetricFamily("server_start_duration_seconds", start, value=self._metrics.start_seconds)

    def _collect_access(self) -> Iterator[Metric]:
        callers = CounterMetricFamily(
            "http_caller_requests", "Requests answered, by who sent them.", labels=["caller", "status"]
        )
        for (caller, status), count in self._metrics.callers.items():
            callers.add_metric([caller, str(status)], count)
        changes = CounterMetricFamily(
            "serving_file_changes", "Changes of mounted files seen.", labels=["file", "result"]
        )
        refused = GaugeMetricFamily(
            "serving_file_refused",
            "1 while a mounted file is not valid and the one before holds.",
            labels=["file"],
        )
        for file in self._metrics.mounted:
            refused.add_metric([file.name], file.refused)
            for result, count in file.changes.items():
                changes.add_metric([file.name, result], count)
        yield from (callers, changes, refused)

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
        for route, counts in self._metrics.models.values():
            model, manifest = route.model, route.model.manifest
            values = [self._metrics.name, manifest.version, route.revision or ""]
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
        failed = GaugeMetricFamily(
            "model_load_failed",
            "Revisions that did not load, beside those that serve.",
            labels=["revision", "reason"],
        )
        for failure in self._metrics.failures:
            failed.add_metric([failure.revision, failure.reason], 1)
        yield failed
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
        for route, counts in self._metrics.models.values():
            manifest = route.model.manifest
            for index, feature in enumerate(manifest.features):
                values = [self._metrics.name, manifest.version, route.revision or "", feature.name]
                is_text = isinstance(feature, Categorical)
                if isinstance(feature, Numeric):
                    outside.add_metric(values, int(counts.below[index] + counts.above[index]))
                elif is_text:
                    unseen.add_metric(values, int(counts.below[index]))
                if feature.nullable:
                    missing.add_metric(values, int((counts.above if is_text else counts.nan)[index]))
        yield from (outside, unseen, missing)
