"""The objects that lead `kubectl top` and autoscalers to a metrics-server outside the cluster."""

from churn_dev.kubectl import Object
from churn_dev.layout import Layout


def metrics_api(layout: Layout) -> list[Object]:
    """An APIService and its Service, which has no selector: metrics-server is no pod."""
    labels = {"kubernetes.io/service-name": "metrics-server"}
    service = {"name": "metrics-server", "namespace": "kube-system"}
    ports = [{"port": 443, "targetPort": 4443}]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": service, "spec": {"ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": service | {"labels": labels},
            "addressType": "IPv4",
            "ports": [{"port": 4443, "name": ""}],
            "endpoints": [{"addresses": [str(layout.control_plane_address)], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": service,
            },
        },
    ]  # fmt: skip
