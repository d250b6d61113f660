"""`make bench-operator`: the figures of docs/benchmarks-operator.md, at many ChurnModels on nodes of kwok.

Counts come from the API server's audit log and are exact. Times are of this machine: beside each time of a
fleet stands the *floor*, in which a client makes the same objects by itself, on a like cluster, just before.
"""

import asyncio
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from churn_dev import fleet, kwok
from churn_dev.audit import AuditLog
from churn_dev.bench import CHILDREN, Figure, at_most, few_requests
from churn_dev.console import step
from churn_dev.disturb_children import DISTURBANCES, Repair, disturb
from churn_dev.handover import hand_over
from churn_dev.histogram import Histogram
from churn_dev.kubectl import Kubectl, Object, condition, wait_until
from churn_dev.local import LocalCluster
from churn_dev.operator_process import SYSTEM, Operator, install_rights
from churn_dev.rest import reads_at_rest
from churn_dev.usage import resident
from churn_operator.errors import ApiError
from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL, DEPLOYMENT
from churn_operator.runtime.client import Client

NAMESPACE = "fleet"
PASSES = "controller_runtime_reconcile_total"
LOOP_LAG = "churn_operator_loop_lag_seconds"
REQUESTS = "rest_client_requests_total"


@dataclass(frozen=True)
class Plan:
    """How much of each.

    Attributes:
        few: ChurnModels created at once, for the time to the last Ready.
        many: ChurnModels of the large fleet.
        vast: ChurnModels that a restart finds in the last step; 0 leaves it out.
        rest_seconds: how long the large fleet is watched at rest.
        tries: how often each kind of child is deleted, and edited.
    """

    few: int = 200
    many: int = 1000
    vast: int = 5000
    rest_seconds: float = 600
    tries: int = 8


@dataclass(frozen=True)
class Birth:
    """How a fleet came to be: seconds until its children were all there, and until the last was available."""

    children: float
    available: float


def run(plan: Plan, work: Path, name: str = "bench-operator") -> list[Figure]:
    """Measures everything, each fleet and each floor on a new local cluster of that name.

    Args:
        plan: how much of each.
        work: an empty directory for kubeconfigs and logs.
        name: of the clusters.
    """
    with kwok.cluster(name) as cluster:
        few_floor = floor(cluster, plan.few)
    with kwok.cluster(name) as cluster, running(cluster, work) as operator:
        idle = resident(operator.process_status)
        few = Fleet(cluster, operator)
        figures = [*few.quick_birth(plan.few, few_floor), *few.changes()]
    with kwok.cluster(name) as cluster:
        many_floor = floor(cluster, plan.many)
    with kwok.cluster(name) as cluster, running(cluster, work) as operator:
        many = Fleet(cluster, operator)
        figures += many.birth(plan.many, many_floor)
        figures += many.memory(idle, plan.many)
        figures += many.rest(plan.rest_seconds, plan.many)
        figures += many.repair(plan.tries, plan.many)
        figures += many.restart(plan.many)
        operator.stop()
        figures += hand_over(cluster, work, NAMESPACE)
    if plan.vast:
        figures += vast(plan.vast, work, name)
    return figures


def vast(count: int, work: Path, name: str, nodes: int = 50) -> list[Figure]:
    """A restart among `count` ChurnModels; what goes wrong is a row: the figures before it are not lost."""
    try:
        with kwok.cluster(name, nodes=nodes, controllers=kwok.FEWEST_CONTROLLERS) as cluster:
            return restart_of_settled(cluster, work, count, nodes=nodes)
    except (ApiError, OSError, TimeoutError, subprocess.SubprocessError) as error:
        return [Figure(f"restart at {count:,}", "", f"not measured: {error!r}", met=False)]


def restart_of_settled(
    cluster: LocalCluster, work: Path, count: int, *, nodes: int, quiet_seconds: float = 8
) -> list[Figure]:
    """A restart among ChurnModels that a client made: it takes far less than an operator and controllers."""
    operator = _installed(cluster, work)
    models = fleet.fleet(count)
    with step(f"{count} ChurnModels with their children, made by a client"):
        fleet.measure(
            cluster.kubeconfig, lambda client: fleet.create_settled(client, models, NAMESPACE, nodes)
        )
    with _started(operator):
        settled = Fleet(cluster, operator, quiet_seconds)
        with step("their first statuses"):
            settled.settle(count)
        return list(settled.restart(count))


@contextmanager
def running(cluster: LocalCluster, work: Path) -> Iterator[Operator]:
    """The operator as a process with the chart's rights, on a cluster without ChurnModels."""
    with _started(_installed(cluster, work)) as operator:
        yield operator


def _installed(cluster: LocalCluster, work: Path) -> Operator:
    _prepare(cluster)
    kubeconfig = work / "operator.kubeconfig"
    kubeconfig.write_text(install_rights(cluster.kubeconfig, SYSTEM))
    return Operator(kubeconfig, cluster.audit_log, work / "operator.log")


@contextmanager
def _started(operator: Operator) -> Iterator[Operator]:
    operator.start()
    try:
        yield operator
    finally:
        if operator.process and operator.process.poll() is None:
            operator.stop()


def _prepare(cluster: LocalCluster) -> None:
    kubectl = Kubectl(cluster.kubeconfig)
    crds = f"--filename={fleet.CRDS}"
    kubectl.run("apply", "--server-side", crds)
    wait_until(lambda: _is_established(kubectl), "the CRD to be served")
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})


def _is_established(kubectl: Kubectl) -> bool:
    crd = kubectl.get("crd", fleet.CRD)
    return condition(crd, "Established").get("status") == "True"


def floor(cluster: LocalCluster, count: int) -> Birth:
    """The same children as of `count` ChurnModels, made by a client."""
    _prepare(cluster)

    async def make(client: Client) -> Birth:
        began = time.time()
        last = asyncio.create_task(fleet.until_all(client, DEPLOYMENT, NAMESPACE, fleet.is_available, count))
        await fleet.create_children(client, fleet.fleet(count), NAMESPACE)
        made = time.time()
        return Birth(made - began, await last - began)

    with step(f"the children of {count} without an operator"):
        return fleet.measure(cluster.kubeconfig, make)


class Fleet:
    """ChurnModels on one cluster, and the operator that serves them; `quiet_seconds` of silence is rest."""

    def __init__(self, cluster: LocalCluster, operator: Operator, quiet_seconds: float = 8) -> None:
        self._quiet_seconds = quiet_seconds
        self._cluster = cluster
        self._operator = operator
        self._kubectl = Kubectl(cluster.kubeconfig, NAMESPACE)

    def birth(self, count: int, floor: Birth) -> Iterable[Figure]:
        """Creates `count` at once; time until all are there, how late the loop was, requests for each."""
        audit, before = self._operator.audit(), self._operator.histogram(LOOP_LAG)
        born = self._create(count, audit)
        late = self._operator.histogram(LOOP_LAG).since(before)
        yield _ratio(f"{count:,} created at once: all children there", born.children, floor.children)
        yield _ratio(f"{count:,} created at once: last Ready", born.available, floor.available, goal=None)
        yield _lag(f"{count:,} created at once: event loop late, p99", late)
        self.quiet()
        asked = [each for each in audit.requests() if each.namespace == NAMESPACE and not each.is_event]
        yield at_most(
            f"requests per ChurnModel with {CHILDREN} children, created with {count:,} others",
            len(asked) / count, CHILDREN + 2, digits=2,
        )  # fmt: skip

    def quick_birth(self, count: int, floor: Birth) -> Iterable[Figure]:
        """Creates `count` at once; time until the last is Ready, and what went wrong on the way."""
        audit = self._operator.audit()
        born = self._create(count, audit)
        yield _ratio(f"{count:,} created at once: last Ready", born.available, floor.available)
        self.quiet()
        refused = sum(each.code >= 400 for each in audit.requests())
        yield at_most(f"{count:,} created at once: requests refused, status conflicts included", refused, 0)
        events = self._kubectl.list("events")
        warnings = [each for each in events if each["type"] == "Warning" and self._is_ours(each)]
        yield at_most(f"{count:,} created at once: Warning events on ChurnModels", len(warnings), 0)

    def changes(self) -> Iterable[Figure]:
        """Requests for one change of one ChurnModel."""
        resources = {"requests": {"cpu": "150m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
        changes: list[tuple[str, int, Object]] = [
            ("an annotation and a label", 1, {"metadata": {"annotations": {"a": "b"}, "labels": {"a": "b"}}}),
            ("maxReplicas", 2, {"spec": {"autoscaling": {"maxReplicas": 4}}}),
            ("threshold, 1 pod stamped", 2, {"spec": {"decision": {"threshold": 0.3}}}),
            ("resources (rollout)", 3, {"spec": {"serving": {"resources": resources}}}),
        ]
        for what, goal, change in changes:
            with step(f"a change: {what}"):
                audit = self._operator.audit()
                self._kubectl.patch("churnmodel", "telco-0000", change)
                self.quiet()
            asked = [each for each in audit.requests() if each.namespace == NAMESPACE and not each.is_event]
            yield few_requests(f"requests per change: {what}", asked, goal)

    @staticmethod
    def _is_ours(event: Object) -> bool:
        return bool(event["involvedObject"]["kind"] == CHURN_MODEL.kind)

    def _create(self, count: int, audit: AuditLog) -> Birth:
        async def make(client: Client) -> tuple[float, float]:
            began = time.time()
            last = asyncio.create_task(fleet.until_all(client, CHURN_MODEL, NAMESPACE, fleet.is_ready, count))
            await fleet.create(client, fleet.fleet(count), NAMESPACE)
            return began, await last

        with step(f"{count} ChurnModels at once"):
            began, last = fleet.measure(self._cluster.kubeconfig, make)
        plurals = {kind.plural for kind in CHILD_KINDS}
        made = [each.ended for each in audit.requests() if each.code == 201 and each.target in plurals]
        return Birth(max(made) - began, last - began)

    def memory(self, idle: float, count: int) -> Iterable[Figure]:
        """Resident memory with no ChurnModel, and now."""
        yield at_most("resident memory idle", idle, 80, "MB")
        now = resident(self._operator.process_status)
        yield at_most(f"resident memory at {count:,}", now, 120, "MB")

    def rest(self, seconds: float, count: int) -> Iterable[Figure]:
        """What is asked of the API server while nothing happens."""
        with step(f"{seconds:.0f} s at rest"):
            audit = self._operator.audit()
            time.sleep(seconds)
            asked = audit.requests()
        writes = [each for each in asked if each.is_write]
        yield at_most(f"writes at rest, {count:,} settled, {seconds:.0f} s", len(writes), 0)
        yield reads_at_rest(asked, seconds, count)

    def repair(self, tries: int, count: int) -> Iterable[Figure]:
        """Deletes and edits children one by one; time until each is what it should be again."""
        with step(f"{2 * tries} disturbances of each kind of child"):
            repairs = disturb(self._cluster, self._operator.audit_log, NAMESPACE, tries, count)
            self.quiet()
        seconds = sorted(each.seconds for each in repairs if each.seconds is not None)
        lost = len(repairs) - len(seconds)
        yield at_most(f"children not brought back, of {len(repairs)} deleted or edited", lost, 0)
        p99 = seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
        yield at_most(
            f"deleted or edited child back at {count:,}, p99", 1000 * p99, 50, "ms",
            detail=f"median {1000 * seconds[len(seconds) // 2]:.0f}; worst by kind: {_worst(repairs)}",
        )  # fmt: skip

    def restart(self, count: int) -> Iterable[Figure]:
        """Ends the operator and starts it again on the settled fleet."""
        with step("restart"):
            began = time.monotonic()
            self._operator.stop()
            ended = time.monotonic() - began
            audit = self._operator.audit()
            began = time.monotonic()
            self._operator.launch()
            wait_until(lambda: self._operator.total(PASSES) >= count, "a pass over each", seconds=300)
            settled, worked = time.monotonic() - began, self._operator.cpu_seconds
            self.quiet()
        yield at_most("SIGTERM to exit", ended, 5, "s", digits=2)
        yield at_most(f"restart at {count:,}: writes", len(audit.writes()), 0)
        yield at_most(
            f"restart at {count:,}: settled", settled, 3 if count <= 1000 else 10, "s", digits=1,
            detail=f"{worked:.1f} s of a core",
        )  # fmt: skip
        resting = resident(self._operator.process_status)
        what = f"resident memory at {count:,}, after a restart"
        few = count <= 1000
        yield at_most(what, resting, 120, "MB") if few else Figure(what, "", f"{resting:.0f} MB")

    def settle(self, count: int) -> None:
        """Waits for a pass over each, and for silence."""
        wait_until(lambda: self._operator.total(PASSES) >= count, "a pass over each", seconds=900)
        self.quiet()

    def quiet(self) -> None:
        """Waits until the operator has asked for nothing in a while; one that says nothing may be asking."""
        seen, since = -1.0, time.monotonic()
        while time.monotonic() - since < self._quiet_seconds:
            if (asked := self._operator.total(REQUESTS)) != seen or not asked:
                seen, since = asked, time.monotonic()
            time.sleep(0.5)


def _ratio(what: str, measured: float, floor: float, goal: float | None = 1.5) -> Figure:
    """A time of the operator beside that of the floor."""
    times = measured / floor
    shown = f"{times:.2f} times ({measured:.1f} s; floor {floor:.1f} s)"
    return (
        Figure(what, f"≤ {goal} times the floor", shown, times <= goal) if goal else Figure(what, "", shown)
    )


def _lag(what: str, late: Histogram) -> Figure:
    (low, high), (_, latest) = (late.around(share) for share in (0.99, 1))
    measured = f"{1000 * low:g} to {1000 * high:g} ms ({late.total} looks, the latest ≤ {1000 * latest:g} ms)"
    return Figure(what, "< 50 ms", measured, high <= 0.05)


def _worst(repairs: list[Repair]) -> str:
    worst = {
        kind.kind: max((each.seconds or 0 for each in repairs if each.kind is kind), default=0)
        for kind in DISTURBANCES
    }
    return ", ".join(f"{kind} {1000 * seconds:.0f}" for kind, seconds in worst.items())
