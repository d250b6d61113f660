"""A cluster whose nodes are none: kwok says of their pods what a kubelet would, as soon as they are bound.

For thousands of ChurnModels on a machine that cannot hold their pods.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from churn_dev import control_plane, local, tools
from churn_dev.kubectl import Kubectl, Object
from churn_dev.layout import CONTROL_PLANE, Layout
from churn_dev.local import LocalCluster
from churn_dev.network import inside
from churn_dev.parts import Part

_STAGES = Path(__file__).with_name("kwok_stages.yaml")
_QUICK = ("--kube-api-qps=300", "--kube-api-burst=600")
"""The controllers' own limit of 20 requests a second would be all that a run with thousands measures."""
CONTROLLERS = "*,-horizontal-pod-autoscaler-controller,-node-lifecycle-controller"
"""No metrics and no heartbeats come from nodes that are none."""
FEWEST_CONTROLLERS = "serviceaccount-controller"
"""Where somebody else makes pods and says what became of Deployments."""


@contextmanager
def cluster(name: str, *, nodes: int = 20, controllers: str = CONTROLLERS) -> Iterator[LocalCluster]:
    """A new local cluster with nodes of kwok and these of its controllers, removed at the end.

    Raises:
        MissingPrerequisite: the machine lacks something.
    """
    local.down(name)
    found = local.up(name, nodes=0)
    try:
        _hurry(found.layout, controllers)
        names = [node_name(number) for number in range(nodes)]
        kubectl = Kubectl(found.kubeconfig)
        kubectl.apply(*(_node(name) for name in names))
        # A new node is tainted until the controller that is off here finds it ready.
        kubectl.run("patch", "node", *names, "--type=merge", '--patch={"spec": {"taints": null}}')
        yield found
    finally:
        local.down(name)


def _hurry(layout: Layout, enabled: str) -> None:
    """Starts the controllers anew without their limits, and what pods need to become Ready."""
    controllers = control_plane.parts(layout)["kube-controller-manager"]
    controllers.stop()
    admin, scheduler = layout.kubeconfig("admin"), layout.kubeconfig("kube-scheduler")
    commands = {
        controllers.name: (*controllers.command, *_QUICK, f"--controllers={enabled}"),
        "kube-scheduler": _inside(
            layout, "kube-scheduler", f"--kubeconfig={scheduler}", "--leader-elect=false", *_QUICK
        ),
        "kwok": _inside(
            layout,
            "kwok",
            f"--kubeconfig={admin}",
            f"--config={_STAGES}",
            "--v=WARN",
            "--manage-all-nodes",
            "--node-lease-duration-seconds=40",
        ),
    }
    for name, command in commands.items():
        Part(name, command, layout.directory).start()


def _inside(layout: Layout, program: str, *flags: str) -> tuple[str, ...]:
    return inside(layout, CONTROL_PLANE, str(tools.path(program)), *flags)


def node_name(number: int) -> str:
    """What a node is called."""
    return f"kwok-{number}"


def _node(name: str) -> Object:
    labels = {"kubernetes.io/hostname": name}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
