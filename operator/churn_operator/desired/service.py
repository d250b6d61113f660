from typing import Any

from churn_operator.decide import Plan
from churn_operator.desired.metadata import build_child
from churn_operator.kinds import SERVICE
from churn_operator.names import METRICS_PORT, SERVICE_PORT, TLS_SERVICE_PORT, selector
from churn_operator.observe import Observed


def build_service(plan: Plan, observed: Observed) -> dict[str, Any]:
    """One address for all replicas: 80 for requests, or 443 for those with TLS; 9090 for their metrics."""
    name, port = ("https", TLS_SERVICE_PORT) if plan.tls else ("http", SERVICE_PORT)
    return build_child(
        SERVICE,
        observed,
        spec={
            "type": "ClusterIP",
            "selector": selector(observed.name),
            "ports": [
                {"name": name, "port": port, "targetPort": "http", "protocol": "TCP"},
                {"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"},
            ],
        },
    )
