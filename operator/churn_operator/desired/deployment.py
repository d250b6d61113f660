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


def handed_over_replicas(plan: Plan, observed: Observed, wanted: dict[str, Any], *, due: bool) -> int | None:
    """Replicas to seed under the second field manager before ours leaves the field out; None for nothing.

    Dropping a field that only we own resets it to 1, so it is handed over with the next write that drops it
    (`due`). At 0 an autoscaler does nothing at all, so it is woken.
    """
    deployment, autoscaling = observed.deployment, plan.spec.autoscaling
    if deployment is None or autoscaling is None or "replicas" in wanted["spec"]:
        return None
    present = int(deployment["spec"].get("replicas", 1))
    ours = any(entry["replicas"] for entry in deployment.get("managed", ()))
    if present == 0 or (due and ours):
        return min(max(present, autoscaling.min_replicas), autoscaling.max_replicas)
    return None
