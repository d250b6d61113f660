"""The chart's Grafana dashboards, each described as rows of panels and written as Grafana's JSON."""

import json
from typing import Any, NamedTuple

SCORING = 'route!~"/(livez|readyz|health|ready)"'
"""Requests of callers, without those of probes."""
_PANEL_WIDTH, _PANEL_HEIGHT, _COLUMNS = 12, 8, 2


class Panel(NamedTuple):
    """A chart over time. `queries` are by legend; `MINE` in one stands for the selected pods."""

    title: str
    unit: str
    queries: dict[str, str]


class Dashboard(NamedTuple):
    """A page. `variables` are by name, each with the query that lists its values."""

    uid: str
    title: str
    mine: str
    variables: dict[str, str]
    panels: list[Panel]


OPERATOR = Dashboard(
    "churn-operator",
    "Churn operator",
    'namespace="$namespace",pod=~"$pod"',
    {
        "namespace": "label_values(churn_operator_kopf_starts_total{}, namespace)",
        "pod": 'label_values(churn_operator_kopf_starts_total{namespace="$namespace"}, pod)',
    },
    [
        Panel(
            "Reconciles",
            "ops",
            {"{{result}}": "sum by (result) (rate(controller_runtime_reconcile_total{MINE}[5m]))"},
        ),
        Panel(
            "Length of a reconcile",
            "s",
            {
                f"p{quantile}": f"histogram_quantile(0.{quantile}, "
                "sum by (le) (rate(controller_runtime_reconcile_time_seconds_bucket{MINE}[5m])))"
                for quantile in (50, 99)
            },
        ),
        Panel(
            "Queue",
            "short",
            {
                "waiting": "sum(workqueue_depth{MINE})",
                "put back after an error, per minute": "60 * sum(rate(workqueue_retries_total{MINE}[5m]))",
            },
        ),
        Panel(
            "Since the API server last sent something",
            "s",
            {
                "{{kind}}": "time() - max by (kind) "
                "(churn_operator_watch_last_contact_timestamp_seconds{MINE})"
            },
        ),
        Panel(
            "Requests to the API server",
            "reqps",
            {"{{method}} {{code}}": "sum by (method, code) (rate(rest_client_requests_total{MINE}[5m]))"},
        ),
        Panel(
            "ChurnModels by state",
            "short",
            {"{{state}}": "max by (state) (churn_operator_churnmodels{MINE})"},
        ),
        Panel(
            "Waiting and late",
            "s",
            {
                "waiting for a worker, p99": "histogram_quantile(0.99, "
                "sum by (le) (rate(workqueue_queue_duration_seconds_bucket{MINE}[5m])))",
                "event loop late, p99": "histogram_quantile(0.99, "
                "sum by (le) (rate(churn_operator_loop_lag_seconds_bucket{MINE}[5m])))",
            },
        ),
        Panel("Memory", "bytes", {"{{pod}}": "process_resident_memory_bytes{MINE}"}),
        Panel("Objects held", "short", {"{{kind}}": "sum by (kind) (churn_operator_cached_objects{MINE})"}),
    ],
)

MODEL = Dashboard(
    "churn-model",
    "Churn model",
    'namespace="$namespace",churnmodel="$churnmodel"',
    {
        "namespace": "label_values(model_info{}, namespace)",
        "churnmodel": 'label_values(model_info{namespace="$namespace"}, churnmodel)',
    },
    [
        Panel(
            "Requests",
            "reqps",
            {"{{status}}": f"sum by (status) (rate(http_requests_total{{{SCORING},MINE}}[5m]))"},
        ),
        Panel(
            "Time to answer",
            "s",
            {
                f"p{quantile}": f"histogram_quantile(0.{quantile}, "
                f"sum by (le) (rate(http_request_duration_seconds_bucket{{{SCORING},MINE}}[5m])))"
                for quantile in (50, 99)
            },
        ),
        Panel(
            "Customers scored",
            "short",
            {
                "{{outcome}}, version {{version}}": "sum by (outcome, version) "
                "(rate(model_predictions_total{MINE}[5m]))"
            },
        ),
        Panel(
            "Mean probability",
            "percentunit",
            {
                "version {{version}}": "sum by (version) (rate(model_probability_sum{MINE}[1h])) / "
                "sum by (version) (rate(model_probability_count{MINE}[1h]))",
                "threshold": "max(model_threshold{MINE})",
            },
        ),
        Panel(
            "Customers that training never saw",
            "percentunit",
            {
                "{{feature}}, range": "sum by (feature) (rate(model_feature_out_of_range_total{MINE}[1h])) / "
                "scalar(sum(rate(model_predictions_total{MINE}[1h])))",
                "{{feature}}, category": "sum by (feature) "
                "(rate(model_feature_unseen_category_total{MINE}[1h])) / "
                "scalar(sum(rate(model_predictions_total{MINE}[1h])))",
            },
        ),
        Panel(
            "Replicas that answer, by version",
            "short",
            {"version {{version}}": "count by (version) (model_info{MINE})", "pods": "sum(up{MINE})"},
        ),
        Panel(
            "Requests refused", "reqps", {"{{code}}": "sum by (code) (rate(model_errors_total{MINE}[5m]))"}
        ),
        Panel("Memory", "bytes", {"{{pod}}": "max by (pod) (process_resident_memory_bytes{MINE})"}),
    ],
)


def render(dashboard: Dashboard) -> str:
    """The dashboard as Grafana reads it."""
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    page = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["churn"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source, *_variables(dashboard)]},
        "panels": [_panel(number, panel, dashboard.mine) for number, panel in enumerate(dashboard.panels)],
    }
    return json.dumps(page, indent=2) + "\n"


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": _SOURCE,
            "query": query,
            "refresh": 2,  # when the time range changes
            "sort": 1,
            "includeAll": name == "pod",
            "multi": name == "pod",
        }
        for name, query in dashboard.variables.items()
    ]


def _panel(number: int, panel: Panel, mine: str) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "title": panel.title,
        "type": "timeseries",
        "datasource": _SOURCE,
        "gridPos": {
            "x": column * _PANEL_WIDTH,
            "y": row * _PANEL_HEIGHT,
            "w": _PANEL_WIDTH,
            "h": _PANEL_HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": letter, "expr": query.replace("MINE", mine), "legendFormat": legend}
            for letter, (legend, query) in zip("ABCD", panel.queries.items(), strict=False)
        ],
    }
