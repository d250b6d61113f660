"""One node as parts: namespaces of its own with a real containerd, kube-proxy and kubelet in them."""

import json
import os
import subprocess
from pathlib import Path

import yaml

from churn_dev import cgroups, tools
from churn_dev.images import PAUSE
from churn_dev.kubectl import wait_until
from churn_dev.layout import Layout
from churn_dev.network import inside
from churn_dev.parts import Part

# Process 1 of the node. /run is its own: what pods leave there (network namespaces, sockets of shims) dies
# with it. bash, because it reaps the orphans that come to process 1.
_INIT = "mount -t tmpfs node /run && while :; do sleep 86400 & wait $!; done"

_CONTAINERD = """\
version = 3
root = "{directory}/containerd"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins.'io.containerd.nri.v1.nri']
  disable = true                 # its socket's path is fixed: two nodes would collide
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{pause}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true  # without CAP_SYS_RESOURCE a score cannot be lowered
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{cni}"]
  conf_dir = "{directory}/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""


def socket(layout: Layout, node: str) -> Path:
    """Where containerd listens."""
    return layout.node_directory(node) / "containerd.sock"


def configure(layout: Layout, node: str) -> None:
    """Writes the files that the node's parts read."""
    directory = layout.node_directory(node)
    (directory / "cni").mkdir(parents=True)
    (directory / "cni" / "10-bridge.conflist").write_text(json.dumps(pod_network(layout, node), indent=2))
    (directory / "containerd.toml").write_text(containerd_config(layout, node))
    (directory / "kubelet.yaml").write_text(yaml.safe_dump(kubelet_config(layout, node)))
    (directory / "kube-proxy.yaml").write_text(yaml.safe_dump(kube_proxy_config(layout, node)))


def parts(layout: Layout, node: str) -> dict[str, Part]:
    """The parts by name, in the order in which they start; the first holds the namespaces and ends all."""
    directory = layout.node_directory(node)
    unshare = (
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation=private",
    )
    holder = Part(node, inside(layout, node, *unshare, "bash", "-c", _INIT), layout.directory)
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
    """Brings the node to where images can be imported."""
    cgroups.create(layout.cgroup(node))
    own = parts(layout, node)
    own[node].start()
    wait_until(lambda: _has_own_run(own[node].child), f"{node} to have its namespaces", seconds=10)
    own[f"{node}/containerd"].start()
    wait_until(lambda: _answers(layout, node), f"{node}'s containerd to answer", seconds=30)


def ctr(layout: Layout, node: str, *arguments: str) -> str:
    """Runs containerd's own client against the node's Kubernetes images and containers."""
    command = [str(tools.path("ctr")), f"--address={socket(layout, node)}", "--namespace=k8s.io", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def pod_network(layout: Layout, node: str) -> dict[str, object]:
    """CNI configuration: a bridge for the node's pods, which the routes of the cluster reach."""
    addresses = {
        "type": "host-local",
        "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": str(layout.pod_range(node))}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    port_map = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, port_map]}


def containerd_config(layout: Layout, node: str) -> str:
    """The configuration file of containerd, in TOML."""
    return _CONTAINERD.format(
        directory=layout.node_directory(node),
        socket=socket(layout, node),
        pause=PAUSE,
        cni=tools.path("bridge").parent,
    )


def kubelet_config(layout: Layout, node: str) -> dict[str, object]:
    """A KubeletConfiguration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(layout.address(node)),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki / f"{node}.crt"),
        "tlsPrivateKeyFile": str(layout.pki / f"{node}.key"),
        "containerRuntimeEndpoint": f"unix://{socket(layout, node)}",
        "clusterDNS": [str(layout.control_plane_address)],
        "clusterDomain": "cluster.local",
        "podLogsDir": str(layout.node_directory(node) / "podlogs"),
        "nodeStatusUpdateFrequency": "4s",
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup(node)}",
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        # Images come by import: one that the kubelet collects for want of disk cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi"},
    }


def kube_proxy_config(layout: Layout, node: str) -> dict[str, object]:
    """A KubeProxyConfiguration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.kubeconfig("kube-proxy"))},
        "mode": "nftables",
        "clusterCIDR": str(layout.pods),
        "hostnameOverride": node,
        # The limits are the machine's, not the namespace's: leave them alone.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def _has_own_run(init: int | None) -> bool:
    return init is not None and "node /run tmpfs" in Path(f"/proc/{init}/mounts").read_text()


def _answers(layout: Layout, node: str) -> bool:
    try:
        ctr(layout, node, "version")
    except subprocess.CalledProcessError:
        return False
    return True
