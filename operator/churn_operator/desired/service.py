from typing import Any

from churn_operator.desired.metadata import build_child
from churn_operator.kinds import SERVICE
from churn_operator.names import METRICS_PORT, SERVICE_PORT, selector
from churn_operator.observe import Observed


def build_service(observed: Observed) -> dict[str, Any]:
    """One address for all replicas: 80 for requests, 9090 for their metrics."""
    return build_child(
        SERVICE,
        observed,
        spec={
            "type": "ClusterIP",
            "selector": selector(observed.name),
            "ports": [
                {"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP"},
                {"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"},
            ],
        },
    )
