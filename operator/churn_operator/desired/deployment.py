from typing import Any

from churn_operator.decide import Plan
from churn_operator.desired.metadata import build_child
from churn_operator.desired.pod import build_pod_template
from churn_operator.kinds import DEPLOYMENT
from churn_operator.names import selector
from churn_operator.observe import Observed
from churn_operator.settings import Settings


def build_deployment(plan: Plan, observed: Observed, settings: Settings) -> dict[str, Any]:
    """The Deployment; without `replicas` where the autoscaler owns them."""
    deadline = plan.spec.progress_deadline_seconds or settings.progress_deadline_seconds
    spec: dict[str, Any] = {
        "selector": {"matchLabels": selector(observed.name)},
        "template": build_pod_template(plan, observed, settings),
        # A replica goes only after its successor is available: no rollout lowers what serves.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "progressDeadlineSeconds": deadline,
        "revisionHistoryLimit": 2,  # history is kept in ControllerRevisions
    }
    if patience := min(settings.min_ready_seconds, deadline - 1):  # the API server drops a 0
        # One that only looks ready before it fails replaces none that serves.
        spec["minReadySeconds"] = patience
    if plan.replicas is not None:
        spec["replicas"] = plan.replicas
    return build_child(DEPLOYMENT, observed, spec=spec)


def with_replicas(deployment: dict[str, Any], replicas: int) -> dict[str, Any]:
    """The same Deployment with a number of replicas to start from."""
    return deployment | {"spec": deployment["spec"] | {"replicas": replicas}}


def kept_replicas(plan: Plan, deployment: dict[str, Any]) -> int | None:
    """Replicas to say once more although an autoscaler owns them; None where they are left out.

    A field that we own alone is reset to 1 when we leave it out, and it stays ours until the autoscaler first
    changes it. At 0 an autoscaler does nothing at all, so it is woken.
    """
    autoscaling = plan.spec.autoscaling
    if not (plan.autoscaled and autoscaling):
        return None
    present = int(deployment["spec"].get("replicas", 1))
    ours = any(entry["replicas"] for entry in deployment.get("managed", ()))
    if present and not ours:
        return None
    return min(max(present, autoscaling.min_replicas), autoscaling.max_replicas)
