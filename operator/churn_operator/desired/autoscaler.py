from typing import Any

from churn_operator.api.autoscaling import Autoscaling
from churn_operator.desired.metadata import build_child
from churn_operator.kinds import AUTOSCALER, DEPLOYMENT
from churn_operator.observe import Observed


def build_autoscaler(autoscaling: Autoscaling, observed: Observed) -> dict[str, Any]:
    """The HorizontalPodAutoscaler that owns the Deployment's replicas."""
    wire = autoscaling.wire()
    spec = {
        "scaleTargetRef": {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.kind,
            "name": observed.name,
        },
        "minReplicas": autoscaling.min_replicas,
        "maxReplicas": autoscaling.max_replicas,
        "metrics": wire.get("metrics") or [_cpu(autoscaling.target_cpu)],
    }
    if wire.get("behavior"):
        spec["behavior"] = wire["behavior"]
    return build_child(AUTOSCALER, observed, spec=spec)


def _cpu(percent: int | None) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}
