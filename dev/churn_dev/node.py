"""One node as parts: namespaces of its own with a real containerd, kube-proxy and kubelet in them."""

import os
from pathlib import Path

from churn_dev import cgroups, images, programs, tools
from churn_dev.errors import DevError
from churn_dev.images import Archive
from churn_dev.kubectl import wait_until
from churn_dev.layout import Layout
from churn_dev.network import inside
from churn_dev.node_config import socket
from churn_dev.parts import Part

_UNSHARE = [
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation=private",
]

# Process 1 of the node. /run is its own: what pods leave there (network namespaces, sockets of shims) dies
# with it. So is /var/lib/kubelet, where every kubelet has its socket for device plugins, whatever its root:
# of two that start at once one would end. bash, because it reaps the orphans that come to process 1.
_INIT = (
    "mkdir -p /var/lib/kubelet && mount -t tmpfs node /var/lib/kubelet && mount -t tmpfs node /run"
    " && while :; do sleep 86400 & wait $!; done"
)


def parts(layout: Layout, node: str) -> dict[str, Part]:
    """The parts by name, in the order in which they start; the first holds the namespaces and ends all."""
    directory = layout.node_directory(node)
    holder = Part(node, inside(layout, node, *_UNSHARE, "bash", "-c", _INIT), layout.directory)
    kubelet = (
        str(tools.path("kubelet")),
        f"--config={directory}/kubelet.yaml",
        f"--kubeconfig={layout.kubeconfig(node)}",
        f"--root-dir={directory}/kubelet",
        f"--cert-dir={directory}/kubelet/pki",
        f"--hostname-override={node}",
        f"--node-ip={layout.address(node)}",
    )
    shims = tools.path("containerd-shim-runc-v2").parent
    commands = {
        "containerd": (
            "env", f"PATH={shims}:{os.environ['PATH']}",
            str(tools.path("containerd")), "--config", f"{directory}/containerd.toml",
        ),
        "kube-proxy": (str(tools.path("kube-proxy")), f"--config={directory}/kube-proxy.yaml"),
        "kubelet": kubelet,
    }  # fmt: skip
    inner = {
        f"{node}/{name}": Part(f"{node}/{name}", command, layout.directory, within=holder)
        for name, command in commands.items()
    }
    return {node: holder} | inner


def start_runtime(layout: Layout, node: str) -> None:
    """Brings the node to where images can be loaded; needs no API server."""
    cgroups.create(layout.cgroup(node))
    own = parts(layout, node)
    own[node].start()
    wait_until(lambda: _has_own_run(own[node].child), f"{node} to have its namespaces")
    own[f"{node}/containerd"].start()
    wait_until(lambda: _answers(layout, node), f"{node}'s containerd to answer")
    load(layout, node, images.pause())


def start(layout: Layout, node: str) -> None:
    """Brings up the whole node, or what is missing of it."""
    start_runtime(layout, node)
    for part in parts(layout, node).values():
        part.start()


def load(layout: Layout, node: str, archive: Archive) -> None:
    """Brings an image to the node, under its name and its digest, unless it is there."""
    present = ctr(layout, node, "images", "list", f"name=={archive.name}").splitlines()
    if not any(archive.digest in line for line in present):
        ctr(layout, node, "images", "import", str(archive.path))
        ctr(layout, node, "images", "tag", "--force", archive.name, archive.by_digest)


def ctr(layout: Layout, node: str, *arguments: str) -> str:
    """Runs containerd's own client against the node's Kubernetes images and containers."""
    address = f"--address={socket(layout, node)}"
    return programs.output(tools.path("ctr"), address, "--namespace=k8s.io", *arguments)


def _has_own_run(init: int | None) -> bool:
    try:
        return init is not None and "node /run tmpfs" in Path(f"/proc/{init}/mounts").read_text()
    except OSError:  # the holder forks on its way: that child is gone already
        return False


def _answers(layout: Layout, node: str) -> bool:
    try:
        ctr(layout, node, "version")
    except DevError:
        return False
    return True
