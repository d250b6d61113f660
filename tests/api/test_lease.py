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

from churn_dev.audit import whole_lines
from churn_dev.kubectl import Kubectl, Object, wait_until

pytestmark = pytest.mark.api

Build = Callable[..., Object]
LASTING, SHORT, HELD = "300", "3", "10"
"""Durations of the Lease in seconds. With the first, nothing but giving it back lets another one take it;
with the last, none loses it in a busy moment."""


@dataclasses.dataclass
class Pair:
    """Both instances, of one namespace, each with a token of its own."""

    kubectl: Kubectl
    instances: list[Any]

    @property
    def leader(self) -> Any:
        """The one that says that it leads."""
        (leader,) = wait_until(lambda: found if len(found := self.leaders()) == 1 else None, "one that leads")
        return leader

    def leaders(self) -> list[Any]:
        """Those that say so; none where one that lives does not answer in time."""
        alive = [each for each in self.instances if each.process.poll() is None]
        try:
            said = [each.metrics("leader_election_master_status") for each in alive]
        except OSError:
            return []
        leads = [re.search(r"^leader_election_master_status\S* 1", each, re.MULTILINE) for each in said]
        return [each for each, match in zip(alive, leads, strict=True) if match]

    def other(self, one: Any) -> Any:
        return next(each for each in self.instances if each is not one)

    def settled(self, name: str = "telco") -> Object:
        """Every child is there; gives the Deployment."""
        wait_until(lambda: self.kubectl.get("poddisruptionbudget", name), f"{name}'s budget", seconds=60)
        return wait_until(lambda: self.kubectl.get("deployment", name), f"{name}'s Deployment", seconds=60)

    def at_rest(self) -> None:
        """No more is to be written: pods do not get ready here, and their number is told."""

        def told() -> bool:
            seen = self.kubectl.get("churnmodel", "telco") or {}
            return bool(seen.get("status", {}).get("replicas") == seen["spec"]["replicas"])

        wait_until(told, "the last status")


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
    lines = [json.loads(line) for line in whole_lines(instance.audit_log, since) if own.encode() in line]
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
    wait_until(lambda: [each.get("/readyz") for each in pair.instances] == [200, 200], "both are ready")
    wait_until(lambda: writes(leader), "its writes in the audit log")
    assert writes(pair.other(leader)) == []


@pytest.mark.parametrize("pair", [LASTING], indirect=True)
def test_one_that_is_stopped_gives_the_lease_back(pair: Pair, model: Build) -> None:
    leader = pair.leader
    pair.kubectl.apply(model())
    pair.at_rest()
    heir = pair.other(leader)
    assert leader.stop(signal.SIGTERM) == 0
    assert pair.leader is heir
    pair.kubectl.delete("service", "telco")
    wait_until(lambda: pair.kubectl.get("service", "telco"), "the Service is back")
    wait_until(lambda: writes(heir), "its write in the audit log")
    assert writes(heir) == ["patch services"], "taking over a settled namespace costs nothing"


@pytest.mark.parametrize("pair", [SHORT], indirect=True)
def test_one_that_is_killed_is_followed_when_its_lease_has_run_out(pair: Pair, model: Build) -> None:
    leader = pair.leader
    heir = pair.other(leader)
    leader.stop(signal.SIGKILL)
    pair.kubectl.apply(model())
    pair.settled()
    assert pair.leader is heir


@pytest.mark.parametrize("pair", [HELD], indirect=True)
def test_one_that_was_frozen_and_wakes_up_begins_no_write(pair: Pair, model: Build) -> None:
    """Frozen in the midst of its passes; when it wakes, its caches know less than the cluster holds."""
    leader = pair.leader
    heir = pair.other(leader)
    names = [f"telco-{number}" for number in range(6)]
    pair.kubectl.apply(*(model() | {"metadata": {"name": name}} for name in names[:3]))
    wait_until(lambda: writes(leader), "the first writes")
    leader.process.send_signal(signal.SIGSTOP)
    pair.kubectl.apply(*(model() | {"metadata": {"name": name}} for name in names[3:]))
    for name in names:
        pair.settled(name)
    wait_until(lambda: writes(heir), "the other one's writes in the audit log")
    woken_at = leader.audit_log.stat().st_size
    leader.process.send_signal(signal.SIGCONT)
    wait_until(lambda: pair.leaders() == [heir], "the woken one knows that it does not lead")
    for name in names:
        pair.kubectl.delete("service", name)
        wait_until(lambda name=name: pair.kubectl.get("service", name), "the Service is back")
    assert writes(leader, woken_at) == []
