"""A real API server with its controllers and no nodes; the operator as a process with the chart's rights."""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from churn_dev.churnmodel import are_served
from churn_dev.cluster import LANES, Cluster, down, up
from churn_dev.generate import ROOT
from churn_dev.kubectl import Kubectl, KubectlError, Object, condition, wait_until
from churn_dev.operator_process import SYSTEM, Operator, install_rights

from .trial import Lane

NAME = f"{LANES}-api"
CRD = "churnmodels.churnops.io"
MODEL = "churnops.io/model"
DIGEST = "sha256:" + "0" * 64
ONE_NAMESPACE = ("namespaced=true", "replicas=2")
"""Values of the chart for two operators that serve their own namespace."""
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    cluster = up(name=NAME, nodes=0)
    kubectl = Kubectl(cluster.kubeconfig)
    kubectl.run("apply", "--server-side", f"--filename={ROOT / 'crds'}")
    wait_until_established(kubectl)
    yield cluster
    if "CHURN_KEEP_CLUSTER" not in os.environ:
        down(NAME)


def wait_until_established(kubectl: Kubectl) -> None:
    """Waits until the CRD's kind is served; `kubectl wait` gives up where it has no condition at all yet."""

    def established() -> bool:
        return condition(kubectl.get("crd", CRD), "Established").get("status") == "True"

    wait_until(established, "the CRD is established")
    wait_until(lambda: are_served(kubectl), "ChurnModels are served")


@pytest.fixture(scope="session")
def as_chart(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Installs the chart's rights into a namespace; the kubeconfig of its service account, with no others."""

    def install(namespace: str, *values: str, account: str = SYSTEM) -> Path:
        path = tmp_path_factory.mktemp("operator") / "kubeconfig"
        path.write_text(install_rights(cluster.kubeconfig, namespace, *values, account=account))
        admin, user = Kubectl(cluster.kubeconfig, namespace), f"system:serviceaccount:{namespace}:{account}"
        verb, what = ("list", CRD) if account == SYSTEM else ("patch", f"customresourcedefinitions/{CRD}")
        wait_until(lambda: admin.may(user, verb, what), "the API server knows of the rights")
        return path

    return install


@pytest.fixture(scope="session")
def operator(
    cluster: Cluster, as_chart: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    assert cluster.audit_log
    log = tmp_path_factory.mktemp("log") / "operator.log"
    running = Operator(as_chart(SYSTEM), cluster.audit_log, log)
    running.start()
    yield running
    assert running.stop() == 0
    assert running.problems() == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lane(
    cluster: Cluster, operator: Operator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Lane]:
    """The API server for trials, which bring operators of their own: the lane's rests meanwhile."""
    operator.stop()
    async with Lane.open(cluster.kubeconfig, operator.kubeconfig, tmp_path_factory.mktemp("trials")) as lane:
        yield lane
    operator.start()


@pytest.fixture
def start_replica(
    namespace: Kubectl, operator: Operator, as_chart: Callable[..., Path], tmp_path: Path
) -> Iterator[Callable[..., Operator]]:
    """Starts one of two operators of the namespace alone, with other settings; the lane's rests meanwhile."""
    home, running = namespace.namespace, list[Operator]()
    operator.stop()

    def start(**settings: str) -> Operator:
        one = dataclasses.replace(
            operator,
            kubeconfig=as_chart(home, *ONE_NAMESPACE),
            namespace=home,
            settings={"LEASE": f"{home}/{SYSTEM}"} | settings,
            log=tmp_path / f"operator-{len(running)}.log",
        )
        running.append(one)
        one.start()
        return one

    yield start
    for one in running:
        if one.process and one.process.poll() is None:
            one.send(signal.SIGCONT)
            one.stop(signal.SIGKILL)
    operator.start()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Kubectl]:
    """A new namespace."""
    kubectl = Kubectl(cluster.kubeconfig, f"api-{os.getpid()}-{next(_numbers)}")
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": kubectl.namespace}})
    yield kubectl
    kubectl.delete("namespace", kubectl.namespace, wait=False)


@pytest.fixture
def model() -> Callable[..., Object]:
    """Builds a ChurnModel called telco; keywords replace parts of its spec."""

    def build(**spec: object) -> Object:
        source = {"uri": "oci://registry.example/telco:1", "digest": DIGEST}
        return {
            "apiVersion": "churnops.io/v1alpha1",
            "kind": "ChurnModel",
            "metadata": {"name": "telco"},
            "spec": {"model": source, "replicas": 2} | spec,
        }

    return build


class Kubelet:
    """Says of pods what a kubelet would: this lane has no nodes."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def pods(self) -> list[Object]:
        return [pod for pod in self._kubectl.list("pods") if "deletionTimestamp" not in pod["metadata"]]

    def start_all(self) -> None:
        """Every pod becomes ready once its Deployment's controller has counted it: pods take their time."""
        pods = self.pods()
        for deployment in self._kubectl.list("deployments"):
            mine = [pod for pod in pods if pod["metadata"]["labels"][MODEL] == deployment["metadata"]["name"]]
            if len(mine) != deployment["status"].get("replicas", 0):
                continue
            for pod in mine:
                if condition(pod, "Ready").get("status") != "True":
                    with contextlib.suppress(KubectlError):  # gone meanwhile
                        self.report(pod, ready=True)

    def report(
        self, pod: Object, *, ready: bool, ended: Object | None = None, waiting: Object | None = None
    ) -> None:
        """The pod is ready or not; its server container ended or waits, with that state."""
        container: Object = {
            "name": "server", "image": "x", "imageID": "", "ready": ready, "restartCount": 0,
        }  # fmt: skip
        if ready:
            container["state"] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        if ended:
            container["state"] = {"terminated": ended}
        if waiting:
            container["state"] = {"waiting": waiting}
        status = {
            "phase": "Running",
            # Long ago: what waits for pods that stay ready need not.
            "conditions": [
                {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
            ],
            "containerStatuses": [container],
        }
        self._kubectl.run(
            "patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge",
            f"--patch={json.dumps({'status': status})}",
        )  # fmt: skip

    def run_until_ready(self, name: str = "telco") -> Object:
        """Starts pods as they come until the ChurnModel is Ready for its latest generation."""

        def ready() -> Object | None:
            self.start_all()
            seen = self._kubectl.get("churnmodel", name)
            said = condition(seen, "Ready")
            current = seen and said.get("observedGeneration") == seen["metadata"]["generation"]
            return seen if current and said["status"] == "True" else None

        return wait_until(ready, f"ChurnModel {name} Ready", seconds=120)


@pytest.fixture
def kubelet(namespace: Kubectl) -> Kubelet:
    return Kubelet(namespace)
