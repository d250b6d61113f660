"""Metrics, under the names that people know from controller-runtime where there is one."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

RECONCILES = Counter(
    "controller_runtime_reconcile_total",
    "Reconciles by result: success, requeue_after, error.",
    ["controller", "result"],
    registry=REGISTRY,
)
RECONCILE_SECONDS = Histogram(
    "controller_runtime_reconcile_time_seconds",
    "Length of a reconcile.",
    ["controller"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge("workqueue_depth", "ChurnModels waiting for a worker.", ["name"], registry=REGISTRY)
RECONCILE_ERRORS = Counter(
    "controller_runtime_reconcile_errors_total",
    "Reconciles that ended with an error.",
    ["controller"],
    registry=REGISTRY,
)
QUEUE_ADDS = Counter("workqueue_adds_total", "ChurnModels put into the queue.", ["name"], registry=REGISTRY)
WAIT_SECONDS = Histogram(
    "workqueue_queue_duration_seconds",
    "Time that a ChurnModel waits in the queue for a worker.",
    ["name"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
    registry=REGISTRY,
)
WORK_SECONDS = Histogram(
    "workqueue_work_duration_seconds",
    "Time from taking a ChurnModel off the queue to the end of its pass.",
    ["name"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
    registry=REGISTRY,
)
QUEUE_RETRIES = Counter(
    "workqueue_retries_total", "Reconciles put back after an error.", ["name"], registry=REGISTRY
)
REQUESTS = Counter(
    "rest_client_requests_total",
    "Requests to the API server by code and method; <error> is no answer.",
    ["code", "method"],
    registry=REGISTRY,
)
WATCH_CONTACT = Gauge(
    "churn_operator_watch_last_contact_timestamp_seconds",
    "When the API server last sent something (an event, a bookmark, a list) about a kind.",
    ["kind"],
    registry=REGISTRY,
)
CACHES_SYNCED = Gauge(
    "churn_operator_caches_synced",
    "Whether every kind was listed: 1 or 0. Nothing is written before.",
    registry=REGISTRY,
)
LOOP_LAG = Histogram(
    "churn_operator_loop_lag_seconds",
    "By how much a timer of the event loop is late.",
    buckets=(0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.25, 1, 5),
    registry=REGISTRY,
)
CACHED = Gauge("churn_operator_cached_objects", "Objects held of a kind.", ["kind"], registry=REGISTRY)
KOPF_STARTS = Counter(
    "churn_operator_kopf_starts_total", "Starts of kopf in this process.", registry=REGISTRY
)
LEADER = Gauge(
    "leader_election_master_status",
    "Whether this instance is the one that writes: 1 or 0. Always 1 where no Lease is asked for.",
    ["name"],
    registry=REGISTRY,
)
