"""Storage of the local cluster: directories on the nodes behind a default storage class, as kind has one."""

from churn_dev.kubectl import Object
from churn_dev.layout import Layout

PER_NODE = 4
"""Volumes of each node. A volume whose claim is gone is not used again: what was on it would show."""
CLASS = "standard"


def volumes(layout: Layout) -> list[Object]:
    """The storage class and every volume; makes the directories.

    There is no provisioner: a claim is bound to a volume of the node that its first pod is scheduled to.
    """
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return [storage_class, *(_volume(layout, node, n) for node in layout.node_names for n in range(PER_NODE))]


def _volume(layout: Layout, node: str, number: int) -> Object:
    directory = layout.node_directory(node) / "volumes" / str(number)
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o777)  # pods run as users that this machine does not know
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{node}-{number}"},
        "spec": {
            "storageClassName": CLASS,
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "local": {"path": str(directory)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        },
    }
