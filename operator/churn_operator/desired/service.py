from typing import Any

from churn_operator.decide import Plan
from churn_operator.desired.metadata import build_child
from churn_operator.kinds import SERVICE
from churn_operator.names import (
    GRPC_PORT,
    METRICS_PORT,
    SERVICE_PORT,
    SERVICE_PORT_NAME,
    TLS_SERVICE_PORT,
    TLS_SERVICE_PORT_NAME,
    selector,
)
from churn_operator.observe import Observed

# The names by which gateways and meshes know HTTP/2 without TLS (KEP-3726), and what a handshake settles.
_H2C, _TLS = "kubernetes.io/h2c", "https"


def build_service(plan: Plan, observed: Observed) -> dict[str, Any]:
    """One address for all replicas: 80 for requests, or 443 for those with TLS; 9090 for their metrics.

    9000 for gRPC where it is asked for; a pod of a revision without is no endpoint of that port.
    """
    name, port = (TLS_SERVICE_PORT_NAME, TLS_SERVICE_PORT) if plan.tls else (SERVICE_PORT_NAME, SERVICE_PORT)
    return build_child(
        SERVICE,
        observed,
        spec={
            "type": "ClusterIP",
            "selector": selector(observed.name),
            "ports": [
                {"name": name, "port": port, "targetPort": "http", "protocol": "TCP"},
                {"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"},
                *([_grpc(_TLS if plan.tls else _H2C)] if plan.grpc else ()),
            ],
        },
    )


def _grpc(protocol: str) -> dict[str, Any]:
    return {
        "name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "protocol": "TCP", "appProtocol": protocol,
    }  # fmt: skip
