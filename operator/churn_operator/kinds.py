"""The kinds that the operator reads or writes, and where the API server keeps them."""

from dataclasses import dataclass
from typing import Any

from churn_operator.api.v1alpha1 import API_VERSION, KIND, PLURAL


@dataclass(frozen=True, eq=False)  # each is one object, looked up by the dozen in a pass
class Kind:
    """A namespaced kind."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path; `namespace` None is all namespaces."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        parts = (["namespaces", namespace] if namespace else []) + [self.plural]
        return "/".join([root, *parts, *(part for part in (name, subresource) if part)])

    def named(self, namespace: str, name: str) -> dict[str, Any]:
        """An object of this kind with nothing but its identity."""
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": {"namespace": namespace, "name": name},
        }


CHURN_MODEL = Kind(API_VERSION, KIND, PLURAL)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
CONTROLLER_REVISION = Kind("apps/v1", "ControllerRevision", "controllerrevisions")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")

CHILD_KINDS = (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    NETWORK_POLICY,
    SERVICE,
    DISRUPTION_BUDGET,
    DEPLOYMENT,
    AUTOSCALER,
)
"""Kinds of a ChurnModel's children, in the order in which they may be relied upon."""
