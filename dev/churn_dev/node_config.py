"""Configuration files of a node's parts; all but `write` is pure."""

import json
from pathlib import Path

import yaml

from churn_dev import tools
from churn_dev.images import PAUSE
from churn_dev.layout import Layout

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


def write(layout: Layout, node: str) -> None:
    """Writes the files that the node's parts read."""
    directory = layout.node_directory(node)
    (directory / "cni").mkdir(parents=True)
    (directory / "cni" / "10-bridge.conflist").write_text(json.dumps(pod_network(layout, node), indent=2))
    (directory / "containerd.toml").write_text(containerd_config(layout, node))
    (directory / "kubelet.yaml").write_text(yaml.safe_dump(kubelet_config(layout, node)))
    (directory / "kube-proxy.yaml").write_text(yaml.safe_dump(kube_proxy_config(layout, node)))


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
