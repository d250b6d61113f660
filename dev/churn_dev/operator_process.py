"""The operator as a process on this machine, with the chart's rights on a cluster and no others."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from churn_dev import tools
from churn_dev.audit import AuditLog, Request
from churn_dev.histogram import Histogram
from churn_dev.kubectl import Kubectl, Object, wait_until
from churn_dev.ports import free_port
from churn_dev.release import CHART
from churn_dev.usage import cpu_seconds

SYSTEM = "churn-operator"
"""The release, and the operator's service account."""
_LEFT_BY_KOPF = (
    "closing of asynchronous generator <async_generator object infinite_watch",
    "/kopf/_cogs/clients/scanning.py",
)
"""kopf, ended and started again, leaves its watch, and the rest of a discovery that failed twice, to the
garbage collector, which complains now and then."""
_RIGHTS = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}


def render_rights(namespace: str, *values: str, chart: Path = CHART) -> list[Object]:
    """The chart's accounts, roles and bindings, with `key=value` settings of it."""
    command: list[str | Path] = [tools.path("helm"), "template", SYSTEM, chart, "--namespace", namespace]
    options = ["--kube-version=1.35.0", *(f"--set={value}" for value in values)]
    rendered = subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout
    return [obj for obj in yaml.safe_load_all(rendered) if obj and obj["kind"] in _RIGHTS]


def install_rights(
    kubeconfig: Path, namespace: str, *values: str, chart: Path = CHART, account: str = SYSTEM
) -> str:
    """Installs the chart's rights into a namespace; a kubeconfig of its service account, as text.

    Args:
        kubeconfig: of an administrator.
        namespace: made when it is missing.
        values: `key=value` settings of the chart.
        chart: which one.
        account: whose kubeconfig; the operator's if not said.
    """
    admin = Kubectl(kubeconfig, namespace)
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    admin.apply(*render_rights(namespace, *values, chart=chart))
    config = yaml.safe_load(admin.run("config", "view", "--raw", "--flatten", "--minify"))
    config["users"][0]["user"] = {"token": admin.run("create", "token", account).strip()}
    return str(yaml.safe_dump(config))


def defects(log: Path) -> list[str]:
    """Lines of an operator's log that a defect leaves; one that a kill cut short is none of them."""
    lines = log.read_text().splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    errors = [each for each in told if each["level"] in {"error", "critical"}]
    ours = [each for each in errors if not any(left in each["message"] for left in _LEFT_BY_KOPF)]
    return [str(each) for each in ours] + [line for line in lines if line.startswith("Traceback")]


@dataclass
class Operator:
    """The operator's process, which may be stopped and started.

    Attributes:
        kubeconfig: what it reaches the cluster with.
        audit_log: the API server's.
        log: where its own log goes.
        namespace: the one that it serves; empty for all.
        settings: others, by their names without the prefix.
        package: a wheel of another release, instead of what is installed.
    """

    kubeconfig: Path
    audit_log: Path
    log: Path
    namespace: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    package: Path | None = None
    health_port: int = 0
    metrics_port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.launch()
        wait_until(lambda: self.get("/readyz") == 200, "the operator is ready", seconds=120)

    def launch(self) -> None:
        """Starts it."""
        self.health_port, self.metrics_port = free_port(), free_port()
        settings = {
            "NAMESPACE": self.namespace,
            "HEALTH_PORT": str(self.health_port),
            "METRICS_PORT": str(self.metrics_port),
            "REVISION_HISTORY_LIMIT": "2",
        } | self.settings
        environment = os.environ | {"KUBECONFIG": str(self.kubeconfig)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the image has its byte code too
        environment |= {f"CHURN_OPERATOR_{name}": value for name, value in settings.items()}
        if self.package:
            environment["PYTHONPATH"] = str(self.package)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "churn_operator"], env=environment, stdout=log, stderr=log
            )

    def send(self, signum: int) -> None:
        """Sends the process a signal."""
        assert self.process  # noqa: S101  # it was launched, for the type checker
        self.process.send_signal(signum)

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Ends the process; its exit code."""
        self.send(signum)
        assert self.process  # noqa: S101  # it was launched, for the type checker
        return self.process.wait(timeout=30)

    def get(self, path: str) -> int | None:
        """HTTP status of one of its probes."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def metrics(self, *names: str) -> str:
        """What it says to a scrape, of the metrics of these names where any is given: that costs it less."""
        query = urllib.parse.urlencode([("name[]", name) for name in names])
        url = f"http://127.0.0.1:{self.metrics_port}/metrics?{query}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())

    def total(self, metric: str) -> float:
        """Sum of a metric over its labels; 0 where there is none yet or nothing answers."""
        try:
            said = self.metrics(metric)
        except OSError:
            return 0
        return sum(map(float, re.findall(rf"^{metric}(?:\{{.*\}})? (\S+)$", said, re.MULTILINE)))

    def histogram(self, name: str) -> Histogram:
        """What was observed since it started."""
        return Histogram.read(self.metrics(f"{name}_bucket"), name)

    @property
    def cpu_seconds(self) -> float:
        """What it has had of a core since it started."""
        assert self.process  # noqa: S101  # it was launched, for the type checker
        return cpu_seconds(self.process.pid)

    @property
    def process_status(self) -> str:
        """Text of its /proc/PID/status."""
        assert self.process  # noqa: S101  # it was launched, for the type checker
        return Path(f"/proc/{self.process.pid}/status").read_text()

    def audit(self) -> AuditLog:
        """What it asks of the API server from now on."""
        return AuditLog(self.audit_log, "churn-operator/")

    def settle(self, audit: AuditLog, *, quiet_seconds: float = 1.5) -> list[Request]:
        """Waits until it wrote nothing for a while; all its writes since `audit` was made, Events aside."""
        return [request for request in audit.settle(quiet_seconds) if not request.is_event]

    def problems(self) -> list[str]:
        """Lines of its log that tell of defects."""
        return defects(self.log)
