"""A cluster of real parts on this Linux machine, as root, without a container engine."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from churn_dev import cgroups, control_plane, images, network, node, node_config, packages, pki, tools
from churn_dev.console import step
from churn_dev.errors import DevError, MissingPrerequisite
from churn_dev.kubectl import Kubectl, KubectlError, condition, wait_until
from churn_dev.layout import Layout, free_index
from churn_dev.metrics_api import metrics_api
from churn_dev.parts import Part, recorded
from churn_dev.paths import STATE, locked
from churn_dev.volumes import volumes

_API_COMMANDS = ("ip", "nsenter", "unshare", "setsid", "sysctl")
_NODE_COMMANDS = (*_API_COMMANDS, "bash", "runc", "nft", "iptables", "conntrack", "buildah", "debootstrap")
_API_TOOLS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
_NODE_TOOLS = (
    *(*_API_TOOLS, "kube-scheduler", "kube-proxy", "kubelet"),
    *("containerd", "containerd-shim-runc-v2", "ctr", "bridge", "loopback", "host-local", "portmap"),
    *("metrics-server", "coredns", "pause"),
)
_INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
_INOTIFY_INSTANCES = 1024


@dataclass(frozen=True)
class LocalCluster:
    """A running local cluster; its parts stop and start singly."""

    layout: Layout

    @property
    def name(self) -> str:
        return self.layout.name

    @property
    def nodes(self) -> int:
        return self.layout.nodes

    @property
    def kubeconfig(self) -> Path:
        return self.layout.kubeconfig("admin")

    @property
    def audit_log(self) -> Path:
        return self.layout.audit_log

    @property
    def host_address(self) -> str:
        """This machine's address as pods and the API server reach it."""
        return str(self.layout.host_address)

    @property
    def parts(self) -> dict[str, Part]:
        """Every part by name, for example `kube-apiserver`, `node1` (the whole node) or `node1/kubelet`."""
        found = control_plane.parts(self.layout)
        for each in self.layout.node_names:
            found |= node.parts(self.layout, each)
        return found

    def start(self, part: str) -> None:
        """Starts a stopped part; a node with all that runs on it."""
        if part in self.layout.node_names:
            node.start(self.layout, part)
        else:
            self._part(part).start()

    def stop(self, part: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Ends a part at once; a node with every process on it, as a power cut would."""
        self._part(part).stop(how)

    def signal(self, part: str, which: signal.Signals) -> None:
        """Sends a signal, for example SIGSTOP and later SIGCONT."""
        self._part(part).signal(which)

    def load_image(self, name: str) -> None:
        """Brings an image from the builder's store to every node."""
        archive = images.archive(name)
        _each(lambda each: node.load(self.layout, each, archive), self.layout.node_names)

    def _part(self, name: str) -> Part:
        parts = self.parts
        if name not in parts:
            raise DevError(f"cluster {self.name} has no part {name}; it has {', '.join(parts)}")
        return parts[name]


def find(name: str) -> LocalCluster | None:
    """The cluster of that name as recorded; it need not run."""
    try:
        record = json.loads(_record(name).read_text())
    except FileNotFoundError:
        return None
    return LocalCluster(Layout(name, record["index"], record["nodes"]))


def prepare(nodes: int) -> None:
    """Installs what a cluster with or without nodes needs.

    Raises:
        MissingPrerequisite: the machine lacks something.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise MissingPrerequisite(
            "no cluster can be made here: start Docker, or be root on Linux, or set CLUSTER=existing"
        )
    packages.ensure(_NODE_COMMANDS if nodes else _API_COMMANDS)
    tools.paths(_NODE_TOOLS if nodes else _API_TOOLS)
    if nodes:
        images.pause()


def up(name: str, nodes: int) -> LocalCluster:
    """Brings the cluster up, or what is missing of it.

    Raises:
        DevError: it stands with another number of nodes, or a part ends as it starts.
        MissingPrerequisite: the machine lacks something.
    """
    prepare(nodes)
    with locked(_lock(name)):
        cluster = find(name)
        if cluster and cluster.nodes != nodes:
            raise DevError(
                f"cluster {name} has {cluster.nodes} nodes, not {nodes}:"
                f" `churn-dev cluster down --name {name}` first"
            )
        if cluster and _prepared(cluster.layout).exists() and network.connected(cluster.layout):
            _start(cluster.layout)
            return cluster
        if cluster:  # a reboot or an interrupted start left it half there
            _remove(cluster.layout)
        with step(f"starting cluster {name}"):
            layout = _reserve(name, nodes)
            _prepare(layout)
            _start(layout)
    return LocalCluster(layout)


def down(name: str) -> None:
    """Removes the cluster: every process, link, namespace, control group and file of it."""
    with locked(_lock(name)):
        if cluster := find(name):
            with step(f"removing cluster {name}"):
                _remove(cluster.layout)
        _lock(name).unlink(missing_ok=True)


def _reserve(name: str, nodes: int) -> Layout:
    with locked(STATE / "index.lock"):
        others = [find(each.parent.name) for each in STATE.glob("*/cluster.json")]
        layout = Layout(
            name, free_index([each.layout.index for each in others if each], network.routed()), nodes
        )
        for directory in ("log", "pids"):
            (layout.directory / directory).mkdir(parents=True)
        _record(name).write_text(json.dumps({"index": layout.index, "nodes": nodes}))
    return layout


def _prepare(layout: Layout) -> None:
    _raise_inotify_limit()
    network.connect(layout)
    pki.issue(layout)
    control_plane.configure(layout)
    for each in layout.node_names:
        node_config.write(layout, each)
    _prepared(layout).touch()


def _raise_inotify_limit() -> None:
    """Debian's 128 is enough for some eight nodes: the next kubelet would end with "too many open files"."""
    if int(_INOTIFY_LIMIT.read_text()) < _INOTIFY_INSTANCES:
        _INOTIFY_LIMIT.write_text(str(_INOTIFY_INSTANCES))


def _start(layout: Layout) -> None:
    parts = control_plane.parts(layout)
    parts["etcd"].start()
    parts["kube-apiserver"].start()
    _each(lambda each: node.start_runtime(layout, each), layout.node_names)
    kubectl = Kubectl(layout.kubeconfig("admin"))
    # The others end at once where they find the API server without its roles.
    wait_until(lambda: _ready(parts["kube-apiserver"], kubectl), "the API server to be ready", seconds=120)
    if layout.nodes:
        kubectl.within("kube-system").apply(*metrics_api(layout))
        kubectl.apply(*volumes(layout))
    for part in parts.values():
        part.start()
    _each(lambda each: node.start(layout, each), layout.node_names)
    # Pods are refused until their namespace has its service account.
    wait_until(lambda: kubectl.get("serviceaccount", "default"), "the controllers to work", seconds=60)
    for each in layout.node_names:
        wait_until(partial(_node_ready, kubectl, each), f"{each} to be Ready", seconds=120)
    for part in LocalCluster(layout).parts.values():
        part.require()


def _remove(layout: Layout) -> None:
    for part in recorded(layout.directory):
        part.stop()
    network.disconnect(layout)
    for each in layout.node_names:
        wait_until(
            partial(cgroups.remove, layout.cgroup(each)),
            f"the processes of {each} to end",
            seconds=60,
        )
    shutil.rmtree(layout.directory)


def _each(act: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(act, names))


def _ready(api_server: Part, kubectl: Kubectl) -> bool:
    api_server.require()
    try:
        return kubectl.run("get", "--raw=/readyz") == "ok"
    except KubectlError:
        return False


def _node_ready(kubectl: Kubectl, name: str) -> bool:
    return condition(kubectl.get("node", name), "Ready").get("status") == "True"


def _record(name: str) -> Path:
    return STATE / name / "cluster.json"


def _lock(name: str) -> Path:
    return STATE / f"{name}.lock"


def _prepared(layout: Layout) -> Path:
    return layout.directory / "prepared"
