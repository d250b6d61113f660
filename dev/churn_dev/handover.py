"""Two operators and one Lease: how soon the other writes when the first is stopped, killed or frozen.

The one that is frozen is in the midst of its passes over new ChurnModels: it wakes with more to write.
"""

import base64
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from churn_dev import fleet
from churn_dev.audit import AuditLog, Request
from churn_dev.bench import Figure, at_most
from churn_dev.console import step
from churn_dev.kubectl import Kubectl, Object, wait_until
from churn_dev.local import LocalCluster
from churn_dev.operator_process import SYSTEM, Operator, install_rights

LEADS = "leader_election_master_status"
AT_ONCE = 20
"""ChurnModels that are made right before the freeze, and as many right after it: seconds of passes."""
NEW, CAUGHT = "handover", "caught"
"""A label of them all, and how the first are called."""
LEASE = {"LEASE": f"{SYSTEM}/{SYSTEM}", "LEASE_SECONDS": "15"}


def hand_over(
    cluster: LocalCluster, work: Path, namespace: str, *, frozen_seconds: float = 60
) -> Iterator[Figure]:
    """Stops, kills and freezes the one that leads; the last for `frozen_seconds`.

    Args:
        cluster: with nodes on which pods get ready.
        work: directory for kubeconfigs and logs.
        namespace: where the ChurnModels are made that the frozen one has yet to write for.
        frozen_seconds: longer than the Lease lasts.
    """
    operators = [_instance(cluster, work, number) for number in range(2)]
    try:
        for operator in operators:
            operator.start()
        wait_until(lambda: any(map(_leads, operators)), "one that leads", seconds=60)
        yield _measure("SIGTERM", 3, operators, signal.SIGTERM)
        _ended(operators).start()
        yield _measure("SIGKILL", 20, operators, signal.SIGKILL)
        _ended(operators).start()
        yield from _freeze(operators, Kubectl(cluster.kubeconfig, namespace), frozen_seconds)
    finally:
        for operator in operators:
            if _lives(operator):
                operator.send(signal.SIGCONT)
                operator.stop(signal.SIGKILL)


def _instance(cluster: LocalCluster, work: Path, number: int) -> Operator:
    kubeconfig = work / f"{number}.kubeconfig"
    kubeconfig.write_text(install_rights(cluster.kubeconfig, SYSTEM, "replicas=2"))
    return Operator(kubeconfig, cluster.audit_log, work / f"{number}.log", settings=LEASE)


def _measure(how: str, goal: float, operators: list[Operator], signum: signal.Signals) -> Figure:
    with step(f"take-over after {how}"):
        seconds = _take_over(operators, signum)
    return at_most(
        f"take-over after {how} of the one that leads, Lease of 15 s", seconds, goal, "s", digits=1
    )


def _freeze(operators: list[Operator], kubectl: Kubectl, seconds: float) -> Iterator[Figure]:
    leader, heir = sorted(operators, key=_leads, reverse=True)
    began, first, others = time.monotonic(), _audit(leader), _audit(heir)
    with step(f"one frozen for {seconds:.0f} s"):
        kubectl.apply(*_new(CAUGHT))
        wait_until(lambda: _writes(first), "the first writes", seconds=60)
        took = _take_over(operators, signal.SIGSTOP, then=lambda: kubectl.apply(*_new("unseen")))
        wait_until(lambda: _are_ready(kubectl), "what was made meanwhile to be Ready", seconds=300)
        time.sleep(max(0, began + seconds - time.monotonic()))
        due = sum(each.name.startswith(CAUGHT) for each in _writes(others))
        woken = _audit(leader)
        leader.send(signal.SIGCONT)
        wait_until(lambda: not _leads(leader), "the woken one knows that it does not lead", seconds=30)
        time.sleep(5)
        writes = len(_writes(woken))
    what = f"take-over after SIGSTOP for {seconds:.0f} s, Lease of 15 s"
    yield at_most(what, took, 20, "s", digits=1)
    yield Figure(
        "writes of one that was frozen in the midst of its passes, and woken", "0",
        f"{writes} ({due} that it had yet to do, the other did)", writes == 0 < due,
    )  # fmt: skip


def _new(name: str) -> list[Object]:
    return [
        model | {"metadata": {"name": f"{name}-{number}", "labels": {NEW: "true"}}}
        for number, model in enumerate(fleet.fleet(AT_ONCE))
    ]


def _are_ready(kubectl: Kubectl) -> bool:
    return all(map(fleet.is_ready, kubectl.list("churnmodels", NEW)))


def _audit(operator: Operator) -> AuditLog:
    """What this one asks from now on."""
    return AuditLog(operator.audit_log, "churn-operator/", _credential(operator))


def _writes(audit: AuditLog) -> list[Request]:
    return [each for each in audit.writes() if each.resource != "leases"]


def _take_over(
    operators: list[Operator], signum: signal.Signals, then: Callable[[], None] = lambda: None
) -> float:
    """Sends the one that leads the signal, and does something; seconds until the other leads."""
    leader = next(filter(_leads, operators))
    (heir,) = (each for each in operators if each is not leader)
    began = time.monotonic()
    leader.send(signum)
    then()
    while not _leads(heir):
        if time.monotonic() - began > 120:
            raise TimeoutError("nobody took the Lease within 120 s")
        time.sleep(0.02)
    seconds = time.monotonic() - began
    if signum is not signal.SIGSTOP and leader.process:
        leader.process.wait(timeout=30)
    return seconds


def _leads(operator: Operator) -> bool:
    return _lives(operator) and operator.total(LEADS) == 1


def _lives(operator: Operator) -> bool:
    return operator.process is not None and operator.process.poll() is None


def _ended(operators: list[Operator]) -> Operator:
    return next(each for each in operators if not _lives(each))


def _credential(operator: Operator) -> str:
    """What the audit log calls the operator's token."""
    token = yaml.safe_load(operator.kubeconfig.read_text())["users"][0]["user"]["token"]
    payload = token.split(".")[1]
    return f"JTI={json.loads(base64.urlsafe_b64decode(payload + '=' * (-len(payload) % 4)))['jti']}"
