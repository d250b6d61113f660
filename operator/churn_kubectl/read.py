"""Reads what belongs to ChurnModels."""

from datetime import UTC, datetime
from typing import Any

from churn_kubectl.cluster import Cluster, Object
from churn_kubectl.errors import ChurnError, ForbiddenError
from churn_kubectl.overview import Seen
from churn_kubectl.records import Entry, read_history
from churn_operator.api.v1alpha1 import PLURAL
from churn_operator.names import MODEL_LABEL
from churn_operator.observe import Pod, trim_pod


def read_model(cluster: Cluster, name: str) -> Object:
    """One ChurnModel.

    Raises:
        ChurnError: There is none of that name; the message lists those there are.
    """
    found = cluster.get(PLURAL, name)
    if found is None:
        names = ", ".join(each["metadata"]["name"] for each in cluster.find(PLURAL)) or "none"
        raise ChurnError(f"no ChurnModel {name} in namespace {cluster.namespace}; there are: {names}")
    return found


def read_models(cluster: Cluster) -> list[Object]:
    """All ChurnModels of the namespace."""
    return cluster.find(PLURAL)


def read_entries(cluster: Cluster, model: Object) -> list[Entry]:
    """Its history, the newest first."""
    return read_history(model, cluster.find("controllerrevisions", _selector(model)))


def read_all(cluster: Cluster, model: Object) -> Seen:
    """It and all that belongs to it, as of now."""
    name = model["metadata"]["name"]
    return Seen(
        model=model,
        history=read_entries(cluster, model),
        pods=_pods(cluster, model),
        autoscaler=cluster.get("horizontalpodautoscaler", name),
        events=_events(cluster, model),
        now=datetime.now(UTC),
    )


def _pods(cluster: Cluster, model: Object) -> list[Pod]:
    found: list[Pod] = [trim_pod(pod)["pod"] for pod in cluster.find("pods", _selector(model))]
    return found


def _events(cluster: Cluster, model: Object) -> list[dict[str, Any]]:
    """Events about it, the newest first; none where whoever asks may not read them."""
    try:
        found = cluster.find(
            "events.events.k8s.io", f"--field-selector=regarding.uid={model['metadata']['uid']}"
        )
    except ForbiddenError:
        return []
    return sorted(found, key=lambda event: event.get("eventTime") or "", reverse=True)


def _selector(model: Object) -> str:
    return f"--selector={MODEL_LABEL}={model['metadata']['name']}"
