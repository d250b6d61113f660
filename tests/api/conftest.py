"""A real API server with its controllers and no nodes; the operator as a process with the chart's rights."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from churn_dev import tools
from churn_dev.audit import AuditLog, Request
from churn_dev.cluster import LANES, Cluster, down, up
from churn_dev.generate import CHART, ROOT
from churn_dev.kubectl import Kubectl, KubectlError, Object, condition, wait_until

from .trial import Lane

NAME = f"{LANES}-api"
SYSTEM = "churn-operator"
DIGEST = "sha256:" + "0" * 64
OTHER_DIGEST = "sha256:" + "1" * 64
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    cluster = up(name=NAME, nodes=0)
    kubectl = Kubectl(cluster.kubeconfig)
    kubectl.run("apply", "--server-side", f"--filename={ROOT / 'crds'}")
    kubectl.run("wait", "--for=condition=Established", f"--filename={ROOT / 'crds'}")
    yield cluster
    if "CHURN_KEEP_CLUSTER" not in os.environ:
        down(NAME)


@pytest.fixture(scope="session")
def as_chart(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Installs the chart's rights into a namespace; the kubeconfig of its service account, with no others."""

    def install(namespace: str, *values: str) -> Path:
        command = [tools.path("helm"), "template", SYSTEM, CHART, "--namespace", namespace]
        options = ["--kube-version=1.35.0", *(f"--set={value}" for value in values)]
        rendered = subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout
        kinds = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
        rights = [obj for obj in yaml.safe_load_all(rendered) if obj and obj["kind"] in kinds]
        admin = Kubectl(cluster.kubeconfig, namespace)
        admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        admin.apply(*rights)
        config = yaml.safe_load(admin.run("config", "view", "--raw", "--flatten", "--minify"))
        config["users"][0]["user"] = {"token": admin.run("create", "token", SYSTEM).strip()}
        path = tmp_path_factory.mktemp("operator") / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    return install


@dataclass
class Operator:
    """The operator's process, which tests may stop and start."""

    kubeconfig: Path
    audit_log: Path
    log: Path
    namespace: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    health_port: int = 0
    metrics_port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        self.health_port, self.metrics_port = _free_port(), _free_port()
        settings = {
            "NAMESPACE": self.namespace,
            "HEALTH_PORT": str(self.health_port),
            "METRICS_PORT": str(self.metrics_port),
            "REVISION_HISTORY_LIMIT": "2",
        } | self.settings
        environment = os.environ | {"KUBECONFIG": str(self.kubeconfig)}
        environment |= {f"CHURN_OPERATOR_{name}": value for name, value in settings.items()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "churn_operator"], env=environment, stdout=log, stderr=log
            )
        wait_until(lambda: self.get("/readyz") == 200, "the operator is ready", seconds=30)

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Ends the process; its exit code."""
        assert self.process
        self.process.send_signal(signum)
        return self.process.wait(timeout=5)

    def get(self, path: str) -> int | None:
        """HTTP status of one of its probes."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def metrics(self) -> str:
        """What it says to a scrape."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def audit(self) -> AuditLog:
        """What it asks of the API server from now on."""
        return AuditLog(self.audit_log, "churn-operator/")

    def settle(self, audit: AuditLog, *, quiet_seconds: float = 1.5) -> list[Request]:
        """Waits until it wrote nothing for a while; all its writes since `audit` was made, Events aside."""
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < quiet_seconds:
            if (count := len(audit.writes())) != seen:
                seen, since = count, time.monotonic()
            time.sleep(0.1)
        return [request for request in audit.writes() if not request.is_event]


@pytest.fixture(scope="session")
def operator(
    cluster: Cluster, as_chart: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    assert cluster.audit_log
    log = tmp_path_factory.mktemp("log") / "operator.log"
    running = Operator(as_chart(SYSTEM), cluster.audit_log, log)
    running.start()
    yield running
    code = running.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert code == 0
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []


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
        """Every pod that there is becomes ready."""
        for pod in self.pods():
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
            "conditions": [{"type": "Ready", "status": str(ready)}],
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

        return wait_until(ready, f"ChurnModel {name} Ready", seconds=30)


@pytest.fixture
def kubelet(namespace: Kubectl) -> Kubelet:
    return Kubelet(namespace)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
