"""ChurnModels from the outside: asked for, waited for, scored through their Service."""

import json
from collections.abc import Sequence
from typing import Any

import httpx

from churn_dev.kubectl import Kubectl, KubectlError, Object, condition, wait_until
from churn_dev.ports import listens

# Small enough for a dozen on two cores; the memory is what a serving pod needs, with room.
SMALL = {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}


def churn_model(name: str, model: Object, /, **spec: Any) -> Object:
    """A ChurnModel of one small replica; `spec` adds to it or replaces."""
    return {
        "apiVersion": "churnops.io/v1alpha1",
        "kind": "ChurnModel",
        "metadata": {"name": name},
        "spec": {"model": model, "replicas": 1, "serving": {"resources": SMALL}, **spec},
    }


def restricted_namespace(name: str) -> Object:
    """A namespace that enforces Pod Security `restricted`, as a platform with care gives its teams."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def wait_ready(kubectl: Kubectl, name: str, *, seconds: float = 90) -> Object:
    """The ChurnModel once its latest generation is Ready.

    Raises:
        TimeoutError: it is not, with the status that it has instead.
    """

    def ready() -> Object | None:
        seen = kubectl.get("churnmodel", name)
        said = condition(seen, "Ready")
        is_current = seen is not None and said.get("observedGeneration") == seen["metadata"]["generation"]
        return seen if is_current and said["status"] == "True" else None

    try:
        return wait_until(ready, f"ChurnModel {name} Ready", seconds=seconds)
    except TimeoutError as late:
        status = (kubectl.get("churnmodel", name) or {}).get("status")
        raise TimeoutError(f"{late}; its status: {json.dumps(status, indent=1)}") from None


def are_served(kubectl: Kubectl) -> bool:
    """Whether the API server knows of ChurnModels: a moment after their CRD is established."""
    try:
        kubectl.list("churnmodels")
    except KubectlError:
        return False
    return True


def service_url(kubectl: Kubectl, name: str) -> str:
    """Address of the ChurnModel's Service, as the nodes and (on the local cluster) this machine reach it.

    Waits until it leads to a replica: nodes learn of one a moment after it is ready.

    Raises:
        LookupError: there is no such Service.
        TimeoutError: it leads nowhere.
    """
    service = kubectl.get("service", name)
    if service is None:
        raise LookupError(f"no Service {name} in {kubectl.namespace}")
    address: str = service["spec"]["clusterIP"]
    wait_until(lambda: listens(address, 80), f"the Service {name} to lead to a replica")
    return f"http://{address}"


def predict(url: str, records: Sequence[Object]) -> Object:
    """The answer of `POST /predict`.

    Raises:
        httpx.HTTPStatusError: the answer is an error.
    """
    answer = httpx.post(f"{url}/predict", json={"records": list(records)}, timeout=60)
    answer.raise_for_status()
    said: Object = answer.json()
    return said
