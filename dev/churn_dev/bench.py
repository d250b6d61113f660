"""`make bench`: the figures of docs/benchmarks.md, measured on a cluster of their own.

Counts come from the API server's audit log and are exact; times are of this machine, to compare within a run.
"""

import http.client
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from churn_dev import bundles, release
from churn_dev.audit import AuditLog, Request
from churn_dev.churnmodel import churn_model, restricted_namespace, wait_ready
from churn_dev.cluster import Cluster, down
from churn_dev.console import step
from churn_dev.kubectl import Kubectl, Object, wait_until
from churn_dev.served import served
from churn_dev.usage import resident

NAMESPACE = "churn-bench"
OPERATOR = "churn-operator/"
CHILDREN = 7
"""Deployment, Service, HPA, PDB, NetworkPolicy, ConfigMap, ControllerRevision."""
AT_REST_SECONDS = 120
MARKS = ("<!-- figures -->", "<!-- end of figures -->")


@dataclass(frozen=True)
class Figure:
    """A measured figure beside its goal.

    Attributes:
        what: what was measured.
        goal: the goal in words; empty where there is none.
        measured: the figure in words.
        met: whether the goal is met; None where there is none.
    """

    what: str
    goal: str
    measured: str
    met: bool | None = None

    def row(self) -> str:
        verdict = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.what} | {self.goal} | {self.measured} | {verdict} |"


def at_most(
    what: str, measured: float, goal: float, unit: str = "", *, digits: int = 0, detail: str = ""
) -> Figure:
    """A figure that should not exceed its goal."""
    unit = f" {unit}" if unit else ""
    shown = f"{measured:.{digits}f}{unit}" + (f" ({detail})" if detail else "")
    return Figure(what, f"≤ {goal:g}{unit}" if goal else "0", shown, measured <= goal)


def record(figures: Iterable[Figure], page: Path, part: str = "") -> None:
    """Writes the table into the page, between the two lines that mark its place, or that of the part."""
    opening = f"<!-- figures: {part} -->" if part else MARKS[0]
    before, _, rest = page.read_text().partition(opening)
    _, _, after = rest.partition(MARKS[1])
    page.write_text(f"{before}{opening}\n{table(figures)}{MARKS[1]}{after}")


def table(figures: Iterable[Figure]) -> str:
    """The figures as a Markdown table."""
    head = "| figure | goal | measured | met |\n|---|---|---|---|\n"
    return head + "".join(f"{figure.row()}\n" for figure in figures)


def in_rounds(ratios: list[float], absolute: Iterable[float], unit: str) -> str:
    """Ratios measured side by side: their median and spread, and the median of what was measured."""
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    measured = f"{statistics.median(absolute):,.0f}{unit}"
    return f"{statistics.median(ratios):.2f} ({spread} in {len(ratios)} rounds; {measured})"


def run(name: str) -> list[Figure]:
    """Measures everything on the local cluster of that name, which is brought up for it."""
    with step("cluster, images, chart"):
        cluster = release.bring_up(name)
    try:
        with tempfile.TemporaryDirectory() as work:
            with step("models"):
                models = bundles.publish_models(cluster, Path(work))
            return [*serving_start(models.first.directory), *OperatorBench(cluster, models).figures()]
    finally:
        down(name)


def serving_start(bundle: Path, *, runs: int = 7) -> Iterable[Figure]:
    """Time from starting `serve` to its first 200 on /readyz, and its memory then."""
    with step("serving start"):
        samples = [_serve_once(bundle) for _ in range(runs)]
    seconds = statistics.median(sample[0] for sample in samples)
    rss = statistics.median(sample[1] for sample in samples)
    yield at_most("serving: process start to ready, median of 7", seconds, 0.6, "s", digits=2)
    yield at_most("serving: resident memory when ready (process)", rss, 90, "MB")


def _serve_once(bundle: Path) -> tuple[float, float]:
    started = time.monotonic()
    with served(bundle) as server:
        while not _is_ready(server.metrics_port):
            if time.monotonic() - started > 30:
                raise TimeoutError("the server was not ready within 30 s")
            time.sleep(0.005)
        return time.monotonic() - started, server.memory


def _is_ready(port: int) -> bool:
    """Asked with the least that can ask: a client's own work would be measured with the server's."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


class OperatorBench:
    """What the operator asks of the API server for one ChurnModel, and how long it takes.

    Args:
        cluster: a cluster with the chart installed and an audit log.
        models: the published bundles.
    """

    def __init__(self, cluster: Cluster, models: bundles.Models) -> None:
        if cluster.audit_log is None:
            raise LookupError("this cluster keeps no audit log: requests cannot be counted")
        self._audit_log = cluster.audit_log
        self._kubectl = Kubectl(cluster.kubeconfig, NAMESPACE)
        self._system = Kubectl(cluster.kubeconfig, release.NAMESPACE)
        self._models = models

    def figures(self) -> list[Figure]:
        """Every figure, measured in one order on one ChurnModel."""
        self._kubectl.run("delete", "namespace", NAMESPACE, "--ignore-not-found")
        self._kubectl.apply(restricted_namespace(NAMESPACE))
        self._restart()
        return [
            self._ready_time(),
            *self._creation(),
            *self._changes(),
            *self._rest(),
            *self._memory(),
        ]

    def _ready_time(self) -> Figure:
        with step("apply to Ready"):
            seconds = [self._time_to_ready(f"ready-{number}") for number in range(5)]
        detail = ", ".join(f"{each:.1f}" for each in seconds)
        return at_most(
            "apply to Ready, images present, 1 replica, median of 5",
            statistics.median(seconds), 5, "s", digits=1, detail=detail,
        )  # fmt: skip

    def _time_to_ready(self, name: str) -> float:
        started = time.monotonic()
        self._kubectl.apply(churn_model(name, self._models.first.model))
        wait_ready(self._kubectl, name)
        seconds = time.monotonic() - started
        self._kubectl.delete("churnmodel", name)
        return seconds

    def _creation(self) -> Iterable[Figure]:
        scaled = {"minReplicas": 2, "maxReplicas": 3, "targetCPUUtilizationPercentage": 70}
        with step("requests of a creation"):
            asked = self._requests(lambda: self._apply(autoscaling=scaled))
        yield few_requests(f"requests per created ChurnModel with {CHILDREN} children", asked, CHILDREN + 2)

    def _changes(self) -> Iterable[Figure]:
        scaled = {"minReplicas": 2, "maxReplicas": 4, "targetCPUUtilizationPercentage": 70}
        second = {"model": self._models.second.model, "autoscaling": scaled}
        resources = {
            "resources": {"requests": {"cpu": "25m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
        }
        changes: list[tuple[str, int, Object]] = [
            ("maxReplicas (HPA)", 2, {"autoscaling": scaled}),
            (
                "threshold (ConfigMap, 2 pods stamped)",
                2,
                {"autoscaling": scaled, "decision": {"threshold": 0.3}},
            ),
            ("model (rollout)", 3, second),
            ("resources (rollout)", 3, {**second, "serving": resources}),
        ]
        for what, goal, spec in changes:
            with step(f"requests of a change: {what}"):
                asked = self._requests(partial(self._apply, **spec))
            yield few_requests(f"requests per change: {what}", asked, goal)

    def _rest(self) -> Iterable[Figure]:
        with step(f"{AT_REST_SECONDS} s at rest"):
            log = AuditLog(self._audit_log, OPERATOR)
            time.sleep(AT_REST_SECONDS)
            writes = log.writes()
        yield few_requests(f"writes at rest, {AT_REST_SECONDS} s", writes, 0)
        with step("restart"):
            log = AuditLog(self._audit_log, OPERATOR)
            self._restart()
            time.sleep(15)
            writes = log.writes()
        yield few_requests("writes on restart", writes, 0)

    def _memory(self) -> Iterable[Figure]:
        operator = self._pod_memory(self._system, "deployment/churn-operator")
        serving = self._pod_memory(self._kubectl, "deployment/telco")
        yield at_most("resident memory of the operator", operator, 100, "MB")
        yield at_most("resident memory of a serving pod", serving, 90, "MB")

    def _pod_memory(self, kubectl: Kubectl, target: str) -> float:
        show = "print(open('/proc/1/status').read())"
        return resident(kubectl.run("exec", target, "--", "python3", "-c", show))

    def _apply(self, **spec: object) -> None:
        self._kubectl.apply(churn_model("telco", self._models.first.model, **spec))
        wait_ready(self._kubectl, "telco")
        wait_until(self._no_pod_is_leaving, "the pods of the revision before to be gone")

    def _no_pod_is_leaving(self) -> bool:
        return not any("deletionTimestamp" in pod["metadata"] for pod in self._kubectl.list("pods"))

    def _requests(self, act: Callable[[], None]) -> list[Request]:
        """The operator's requests because of `act`, Events aside, until it is quiet for 5 s."""
        log = AuditLog(self._audit_log, OPERATOR)
        act()
        seen = -1
        while seen != len(asked := [each for each in log.requests() if self._is_budgeted(each)]):
            seen = len(asked)
            time.sleep(5)
        return asked

    def _is_budgeted(self, request: Request) -> bool:
        return request.namespace == NAMESPACE and not request.is_event

    def _restart(self) -> None:
        self._system.run("rollout", "restart", "deployment/churn-operator")
        self._system.run("rollout", "status", "deployment/churn-operator", "--timeout=90s")


def few_requests(what: str, requests: list[Request], goal: int) -> Figure:
    """A number of requests that should not exceed its goal, and which they were."""
    counts = Counter(f"{request.verb} {request.target}" for request in requests)
    detail = ", ".join(f"{n} {which}" for which, n in sorted(counts.items()))
    return at_most(what, len(requests), goal, detail=detail)
