"""Real clusters on this machine: what they give, and what they leave behind."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from churn_dev import images, local, node
from churn_dev.audit import whole_lines
from churn_dev.cluster import LANES
from churn_dev.kubectl import Kubectl, KubectlError, Object, condition, wait_until
from churn_dev.local import LocalCluster
from churn_dev.paths import STATE, locked

NAME = f"{LANES}-dev"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A cluster with two nodes, for this module alone: its parts are stopped and started."""
    yield local.up(NAME, nodes=2)
    local.down(NAME)


@pytest.fixture
def kubectl(cluster: LocalCluster) -> Kubectl:
    return Kubectl(cluster.kubeconfig)


@pytest.fixture
def image(tmp_path: Path) -> str:
    """A model image that no test saw before, in the builder's store."""
    (tmp_path / "SHA256SUMS").write_text(uuid.uuid4().hex)
    name = "docker.io/churnops/test-dev:1"
    images.build_bundle(name, tmp_path)
    return name


def _pod(name: str, node: str, reference: str = images.PAUSE) -> Object:
    """A pod that waits for ever, with an image mounted."""
    mount = [{"name": "model", "mountPath": "/model", "readOnly": True}]
    container = {
        "name": "pause",
        "image": images.PAUSE,
        "imagePullPolicy": "IfNotPresent",
        "volumeMounts": mount,
    }
    volume = {"name": "model", "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
            "volumes": [volume],
        },
    }


def _is_ready(kubectl: Kubectl, kind: str, name: str) -> bool:
    return condition(kubectl.get(kind, name), "Ready").get("status") == "True"


def _answers(kubectl: Kubectl) -> bool:
    try:
        return kubectl.run("get", "--raw=/readyz") == "ok"
    except KubectlError:
        return False


@pytest.mark.cluster
def test_a_second_up_changes_nothing(cluster: LocalCluster):
    before = {name: part.pid for name, part in cluster.parts.items()}
    again = local.up(NAME, nodes=2)
    assert again == cluster
    assert {name: part.pid for name, part in again.parts.items()} == before


@pytest.mark.cluster
def test_up_with_another_number_of_nodes_is_refused(cluster: LocalCluster):
    with pytest.raises(local.DevError, match="has 2 nodes, not 1"):
        local.up(NAME, nodes=1)


@pytest.mark.cluster
def test_a_loaded_image_reaches_every_node_and_is_known_by_digest(
    cluster: LocalCluster, kubectl: Kubectl, image: str
):
    cluster.load_image(image)
    by_digest = images.archive(image).by_digest
    for each in cluster.layout.node_names:
        assert image in node.ctr(cluster.layout, each, "images", "list", "--quiet").splitlines()
        kubectl.apply(_pod(f"mounts-on-{each}", each, by_digest))
    for each in cluster.layout.node_names:
        wait_until(lambda each=each: _is_ready(kubectl, "pod", f"mounts-on-{each}"), f"the pod on {each}")
        kubectl.delete("pod", f"mounts-on-{each}")


@pytest.mark.cluster
def test_an_image_that_changed_under_its_name_replaces_the_one_on_the_nodes(
    cluster: LocalCluster, image: str, tmp_path: Path
):
    cluster.load_image(image)
    (tmp_path / "SHA256SUMS").write_text("changed")
    images.build_bundle(image, tmp_path)
    cluster.load_image(image)
    listed = node.ctr(cluster.layout, "node1", "images", "list", f"name=={image}")
    assert images.archive(image).digest in listed


@pytest.mark.cluster
def test_resource_use_of_nodes_is_measured(kubectl: Kubectl):
    wait_until(lambda: kubectl.list("nodes.metrics.k8s.io"), "figures of nodes")


@pytest.mark.cluster
def test_the_api_server_stops_and_comes_back_with_all_it_knew(cluster: LocalCluster, kubectl: Kubectl):
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "1"}})
    cluster.stop("kube-apiserver")
    assert not _answers(kubectl)
    cluster.start("kube-apiserver")
    wait_until(lambda: _answers(kubectl), "the API server to answer again")
    assert (kubectl.get("configmap", "kept") or {})["data"] == {"a": "1"}


@pytest.mark.cluster
def test_no_two_kubelets_share_the_socket_of_device_plugins(cluster: LocalCluster):
    kubelets = [part for name, part in cluster.parts.items() if name.endswith("/kubelet")]
    found = [
        Path(f"/proc/{kubelet.pid}/root/var/lib/kubelet/device-plugins/kubelet.sock").stat()
        for kubelet in kubelets
    ]
    assert len({(each.st_dev, each.st_ino) for each in found}) == len(kubelets) == 2


def test_up_brings_back_what_was_stopped(cluster: LocalCluster, kubectl: Kubectl):
    for part in ("etcd", "kube-scheduler", "node2/kubelet"):
        cluster.stop(part)
    local.up(NAME, nodes=2)
    assert all(part.pid for part in cluster.parts.values())
    assert _answers(kubectl)


@pytest.mark.cluster
def test_a_node_that_lost_power_comes_back_with_its_pods(cluster: LocalCluster, kubectl: Kubectl):
    kubectl.apply(_pod("survivor", "node1"))
    wait_until(lambda: _is_ready(kubectl, "pod", "survivor"), "the pod to be Ready")
    cluster.stop("node1")
    # The kernel ends what ran in the node a moment after the node's first process.
    wait_until(
        lambda: not any(part.pid for name, part in cluster.parts.items() if name.startswith("node1")),
        "every part of the node to be gone",
    )
    cluster.start("node1")
    wait_until(
        lambda: _restarts(kubectl, "survivor") >= 1, "the pod's container to be started anew", seconds=120
    )
    wait_until(lambda: _is_ready(kubectl, "pod", "survivor"), "the pod to be Ready again", seconds=120)


@pytest.mark.api
def test_the_audit_log_tells_who_asked_what():
    lane = local.up(f"{NAME}-api", nodes=0)
    try:
        Kubectl(lane.kubeconfig).get("configmap", "absent")
        asked = wait_until(lambda: _asked_for(lane, "/configmaps/absent"), "the request in the log")
        assert asked[0]["userAgent"].startswith("kubectl/")
        assert asked[0]["level"] == "Metadata"
    finally:
        local.down(lane.name)


@pytest.mark.cluster
def test_down_leaves_no_process_link_namespace_mount_cgroup_or_file(cluster: LocalCluster):
    """A second cluster beside the first, with a pod in it, comes and goes; the first does not notice."""
    name = f"gone-{uuid.uuid4().hex[:6]}"
    other = local.up(name, nodes=1)
    kubectl = Kubectl(other.kubeconfig)
    kubectl.apply(_pod("left-behind", "node1"))
    wait_until(lambda: _is_ready(kubectl, "pod", "left-behind"), "the pod to be Ready")
    assert all(_traces(other).values())
    # Whoever made a cluster now would have links and routes of the same names.
    with locked(STATE / "index.lock"):
        local.down(name)
        assert not any(_traces(other).values())
    assert local.find(name) is None
    assert _answers(Kubectl(cluster.kubeconfig))


def _traces(cluster: LocalCluster) -> dict[str, list[str]]:
    """What of a cluster can be seen on the machine."""
    layout = cluster.layout
    links = [each["ifname"] for each in json.loads(_output("ip", "-json", "link"))]
    routes = _output("ip", "route").splitlines()
    return {
        "processes": [line for line in _command_lines() if f"{layout.directory}/" in line],
        "links": [link for link in links if link == layout.bridge or link.startswith(f"{layout.bridge}-")],
        "routes": [
            route for route in routes if str(layout.network) in route or str(layout.services) in route
        ],
        "namespaces": [each for each in _output("ip", "netns").split() if f"-{cluster.name}-" in each],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if cluster.name in line],
        "cgroups": [path for path, _, _ in os.walk("/sys/fs/cgroup") if cluster.name in path],
        "files": [str(each) for each in STATE.glob(f"{cluster.name}*")],
    }


def _asked_for(cluster: LocalCluster, uri: str) -> list[Object]:
    """Requests of the audit log."""
    events = map(json.loads, whole_lines(cluster.audit_log))
    return [event for event in events if event["requestURI"].endswith(uri)]


def _command_lines() -> list[str]:
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_text())
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
    return lines


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _restarts(kubectl: Kubectl, pod: str) -> int:
    statuses = (kubectl.get("pod", pod) or {}).get("status", {}).get("containerStatuses", [])
    return sum(status["restartCount"] for status in statuses)
