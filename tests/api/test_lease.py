"""Two instances of the operator: one writes, the other waits with warm caches and takes over."""

import base64
import dataclasses
import json
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from churn_dev.kubectl import Kubectl, Object, wait_until

pytestmark = pytest.mark.api

Build = Callable[..., Object]
LASTING, SHORT = "300", "3"
"""Durations of the Lease in seconds: with the first, nothing but giving it back lets another one take it."""


@dataclasses.dataclass
class Pair:
    """Both instances, of one namespace, each with a token of its own."""

    kubectl: Kubectl
    instances: list[Any]

    @property
    def leader(self) -> Any:
        """The one that says that it leads."""
        (leader,) = wait_until(self.leaders, "one that leads", seconds=30)
        return leader

    def leaders(self) -> list[Any]:
        alive = [each for each in self.instances if each.process.poll() is None]
        return [
            each
            for each in alive
            if re.search(r"^leader_election_master_status\S* 1", each.metrics(), re.MULTILINE)
        ]

    def other(self, one: Any) -> Any:
        return next(each for each in self.instances if each is not one)

    def settled(self, name: str = "telco") -> Object:
        """Every child is there; gives the Deployment."""
        wait_until(lambda: self.kubectl.get("poddisruptionbudget", name), f"{name}'s budget", seconds=60)
        return wait_until(lambda: self.kubectl.get("deployment", name), f"{name}'s Deployment", seconds=60)


@pytest.fixture
def pair(request: pytest.FixtureRequest, namespace: Kubectl, start_replica: Any) -> Pair:
    return Pair(namespace, [start_replica(LEASE_SECONDS=request.param) for _ in range(2)])


def credential(instance: Any) -> str:
    """What the API server calls this instance's token in its audit log."""
    token = yaml.safe_load(instance.kubeconfig.read_text())["users"][0]["user"]["token"]
    payload = token.split(".")[1]
    return "JTI=" + str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"])


def writes(instance: Any, since: int = 0) -> list[str]:
    """Verb and resource of the instance's writes in the audit log from that byte on, its Lease aside."""
    own = credential(instance)
    with instance.audit_log.open() as log:
        log.seek(since)
        lines = [json.loads(line) for line in log if own in line and line.endswith("\n")]
    return [
        f"{line['verb']} {line['objectRef']['resource']}"
        for line in lines
        if line["verb"] not in {"get", "list", "watch"}
        and line["objectRef"]["resource"] != "leases"
        and own in line["user"].get("extra", {}).get("authentication.kubernetes.io/credential-id", ())
    ]


@pytest.mark.parametrize("pair", [LASTING], indirect=True)
def test_one_writes_and_both_are_ready(pair: Pair, model: Build) -> None:
    leader = pair.leader
    pair.kubectl.apply(model())
    pair.settled()
    assert [each.get("/readyz") for each in pair.instances] == [200, 200]
    assert writes(leader)
    assert writes(pair.other(leader)) == []


@pytest.mark.parametrize("pair", [LASTING], indirect=True)
def test_one_that_is_stopped_gives_the_lease_back(pair: Pair, model: Build) -> None:
    leader = pair.leader
    pair.kubectl.apply(model())
    pair.settled()
    heir = pair.other(leader)
    assert leader.stop(signal.SIGTERM) == 0
    assert pair.leader is heir
    assert writes(heir) == [], "taking over a settled namespace"
    pair.kubectl.delete("service", "telco")
    wait_until(lambda: pair.kubectl.get("service", "telco"), "the Service is back", seconds=30)


@pytest.mark.parametrize("pair", [SHORT], indirect=True)
def test_one_that_is_killed_is_followed_when_its_lease_has_run_out(pair: Pair, model: Build) -> None:
    leader = pair.leader
    heir = pair.other(leader)
    leader.stop(signal.SIGKILL)
    pair.kubectl.apply(model())
    pair.settled()
    assert pair.leader is heir


@pytest.mark.parametrize("pair", [SHORT], indirect=True)
def test_one_that_was_frozen_and_wakes_up_begins_no_write(pair: Pair, model: Build) -> None:
    """Frozen in the midst of its passes; when it wakes, its caches know less than the cluster holds."""
    leader = pair.leader
    heir = pair.other(leader)
    names = [f"telco-{number}" for number in range(6)]
    pair.kubectl.apply(*(model() | {"metadata": {"name": name}} for name in names[:3]))
    wait_until(lambda: writes(leader), "the first writes", seconds=30)
    leader.process.send_signal(signal.SIGSTOP)
    pair.kubectl.apply(*(model() | {"metadata": {"name": name}} for name in names[3:]))
    for name in names:
        pair.settled(name)
    assert writes(heir)
    woken_at = leader.audit_log.stat().st_size
    leader.process.send_signal(signal.SIGCONT)
    wait_until(lambda: pair.leaders() == [heir], "the woken one knows that it does not lead", seconds=30)
    for name in names:
        pair.kubectl.delete("service", name)
        wait_until(lambda name=name: pair.kubectl.get("service", name), "the Service is back", seconds=30)
    assert writes(leader, woken_at) == []
