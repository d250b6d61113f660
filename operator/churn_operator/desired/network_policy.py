from typing import Any

from churn_operator.decide import Plan
from churn_operator.desired.metadata import build_child
from churn_operator.kinds import NETWORK_POLICY
from churn_operator.names import GRPC_PORT, HTTP_PORT, METRICS_PORT, selector
from churn_operator.observe import Observed
from churn_operator.settings import Settings

DNS_PORTS = (53, 5353)
"""5353 is where some clusters' DNS pods listen behind their Service's 53; policies see the pod's port."""


def build_network_policy(plan: Plan, observed: Observed, settings: Settings) -> dict[str, Any]:
    """Requests from anywhere, metrics for the platform's namespaces; out only to fetch the bundle."""
    asked = (HTTP_PORT, GRPC_PORT) if plan.grpc else (HTTP_PORT,)
    spec = {
        "podSelector": {"matchLabels": selector(observed.name)},
        "policyTypes": ["Ingress", "Egress"],  # Egress without rules denies all
        "ingress": [{"ports": [_tcp(port) for port in asked]}, _metrics(settings)],
    }
    if egress := _egress(plan, settings):
        spec["egress"] = egress
    return build_child(NETWORK_POLICY, observed, spec=spec)


def _metrics(settings: Settings) -> dict[str, Any]:
    rule: dict[str, Any] = {"ports": [_tcp(METRICS_PORT)]}
    if settings.metrics_namespaces:
        rule["from"] = [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
            for namespace in settings.metrics_namespaces
        ]
    return rule


def _egress(plan: Plan, settings: Settings) -> list[dict[str, Any]]:
    source = plan.revision.model.source
    if not source.fetched:
        return []
    dns = [{"port": port, "protocol": protocol} for port in DNS_PORTS for protocol in ("UDP", "TCP")]
    ports = (source.port,) if source.port else settings.store_ports
    return [{"ports": dns}, {"ports": [_tcp(port) for port in ports]}]


def _tcp(port: int) -> dict[str, Any]:
    return {"port": port, "protocol": "TCP"}
