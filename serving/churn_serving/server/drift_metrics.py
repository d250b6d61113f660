"""The drift measures as Prometheus reads them."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from churn_serving.server.metrics import Metrics

_RULE = "Below 0.1 none to speak of, above 0.25 another population."


def collect_drift(metrics: Metrics) -> Iterator[Metric]:
    """Gauges per model, computed now. A measure whose sample is too small is absent."""
    labels = ["model", "version", "revision"]
    by_feature = [*labels, "feature"]
    sample = GaugeMetricFamily("model_drift_sample_size", "Customers in the drift window.", labels=labels)
    score = (
        GaugeMetricFamily("model_score_psi", f"Drift of the score. {_RULE}", labels=labels),
        GaugeMetricFamily("model_score_jensen_shannon", "Drift of the score in bits, 0 to 1.", labels=labels),
    )
    features = (
        GaugeMetricFamily("model_feature_psi", f"Drift of the column. {_RULE}", labels=by_feature),
        GaugeMetricFamily(
            "model_feature_jensen_shannon", "Drift of the column in bits, 0 to 1.", labels=by_feature
        ),
        GaugeMetricFamily(
            "model_feature_unseen_ratio", "Share of texts that training never saw.", labels=by_feature
        ),
        GaugeMetricFamily("model_feature_missing_ratio", "Share of missing values.", labels=by_feature),
    )
    for route, counts in metrics.models.values():
        if counts.drift is None:
            continue
        values = [metrics.name, route.model.manifest.version, route.revision or ""]
        size, measured = counts.drift.measure()
        sample.add_metric(values, size)
        for feature, *found in measured:
            families, named = (score, values) if feature is None else (features, [*values, feature])
            for family, value in zip(families, found, strict=False):
                if value is not None:
                    family.add_metric(named, value)
    yield from (sample, *score, *features)
