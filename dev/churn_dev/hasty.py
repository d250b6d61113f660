"""The control of the soak: the same pods without what makes them leave in steps. They must lose requests."""

from typing import Any

from churn_dev.churnmodel import service_url
from churn_dev.console import step
from churn_dev.kubectl import Kubectl, Object
from churn_dev.load import Load, Outcomes

NAME = "hasty"


def roll_until_it_fails(
    kubectl: Kubectl, deployment: str, body: Object, *, rate: float, rollouts: int = 5
) -> Outcomes:
    """Rolls a copy of the Deployment under load until requests fail, or often enough.

    Args:
        kubectl: in the namespace of the Deployment.
        deployment: its name.
        body: of every request.
        rate: requests a second.
        rollouts: most rollouts.
    """
    original = kubectl.get("deployment", deployment)
    if original is None:
        raise LookupError(f"no Deployment {deployment} in {kubectl.namespace}")
    kubectl.apply(*_copy(original))
    _wait_rolled_out(kubectl)
    url = service_url(kubectl, NAME)
    with Load(f"{url}/predict", body, rate=rate) as load:
        for number in range(1, rollouts + 1):
            with step(f"control rollout {number}"):
                kubectl.run("rollout", "restart", f"deployment/{NAME}")
                _wait_rolled_out(kubectl)
            if load.outcomes.failed:
                break
    return load.outcomes


def _wait_rolled_out(kubectl: Kubectl) -> None:
    kubectl.run("rollout", "status", f"deployment/{NAME}", "--timeout=100s")


def _copy(deployment: Object) -> list[Object]:
    """A Deployment and a Service whose server ends at SIGTERM, and which is told so at once."""
    template: dict[str, Any] = deployment["spec"]["template"]
    (server,) = template["spec"]["containers"]
    hasty = {name: value for name, value in server.items() if name != "lifecycle"}
    hasty["env"] = [{"name": "CHURN_DRAIN_SECONDS", "value": "0"}]
    labels = {"app": NAME}
    pods = {"metadata": {"labels": labels}, "spec": template["spec"] | {"containers": [hasty]}}
    spec = {"replicas": deployment["spec"]["replicas"], "selector": {"matchLabels": labels}, "template": pods}
    ports = [{"port": 80, "targetPort": "http"}]
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"selector": labels, "ports": ports},
        },
    ]
