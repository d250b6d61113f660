"""A bad revision is named, given up at its deadline, and stays away until the spec asks for another."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from churn_dev.kubectl import Kubectl, Object, condition, wait_until

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

Build = Callable[..., Object]
BAD = {"uri": "oci://registry.example/telco:2", "digest": "sha256:" + "1" * 64}
OTHER = {"uri": "oci://registry.example/telco:3", "digest": "sha256:" + "2" * 64}
NOW = {"progressDeadlineSeconds": 1}
"""Asked for once the failure was reported: no machine is too slow for that."""
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}


def said(reason: str) -> Object:
    message = json.dumps({"reason": reason, "message": "because"})
    return {"ended": {"exitCode": 1, "reason": "Error", "message": message}}


FAILURES: dict[str, tuple[Object, str]] = {
    "silent": ({}, "ProgressDeadlineExceeded"),
    "crashing": ({"ended": {"exitCode": 1, "reason": "Error"}}, "ContainerFailed"),
    "large": ({"ended": {"exitCode": 137, "reason": "OOMKilled"}}, "OOMKilled"),
    "missing": ({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "ImagePullFailed"),
    "wrong": (said("GoldenMismatch"), "GoldenMismatch"),
    "slow": (said("TooSlow"), "TooSlow"),
}
"""What a kubelet reports of the bad revision's pod, and what the ChurnModel says of it."""


def named(built: Object, name: str) -> Object:
    return built | {"metadata": {"name": name}}


def wait_for_reason(kubectl: Kubectl, name: str, kind: str, reason: str) -> Object:
    def found() -> Object | None:
        seen = kubectl.get("churnmodel", name)
        return seen if condition(seen, kind).get("reason") == reason else None

    return wait_until(found, f"{kind} of {name} says {reason}")


def pods_of(kubelet: Any, name: str) -> dict[str, Object]:
    """Pods by uid."""
    return {
        pod["metadata"]["uid"]: pod
        for pod in kubelet.pods()
        if pod["metadata"]["labels"]["churnops.io/model"] == name
    }


def revision_of(kubectl: Kubectl, name: str) -> str:
    """The revision that the Deployment makes pods of."""
    template = (kubectl.get("deployment", name) or {})["spec"]["template"]
    return str(template["metadata"]["labels"]["churnops.io/revision"])


def fail(kubelet: Any, name: str, old: dict[str, Object], how: Object) -> None:
    """The first pod that the rollout makes fails."""
    new = wait_until(lambda: pods_of(kubelet, name).keys() - old.keys(), f"a pod of {name}'s rollout")
    kubelet.report(pods_of(kubelet, name)[new.pop()], ready=False, **how)


def test_each_kind_of_bad_revision_gives_way_to_the_one_that_answers(
    namespace: Kubectl, model: Build, kubelet: Any
) -> None:
    namespace.apply(*(named(model(replicas=1), name) for name in FAILURES))
    good = {name: kubelet.run_until_ready(name)["status"]["revision"] for name in FAILURES}
    old = {name: pods_of(kubelet, name) for name in FAILURES}

    namespace.apply(*(named(model(replicas=1, model=BAD), name) for name in FAILURES))
    for name, (how, reason) in FAILURES.items():
        fail(kubelet, name, old[name], how)
        for kind in ("Ready", "ModelLoaded") if how else ():
            wait_for_reason(namespace, name, kind, reason)
    namespace.apply(*(named(model(replicas=1, model=BAD, **NOW), name) for name in FAILURES))

    for name, (_, reason) in FAILURES.items():
        seen = wait_for_reason(namespace, name, "Ready", "RolledBack")
        assert condition(seen, "Stalled")["reason"] == "RolledBack"
        assert condition(seen, "ModelLoaded")["reason"] == reason
        assert condition(seen, "Available")["status"] == "True"
        assert reason in condition(seen, "Ready")["message"]
        assert seen["status"]["servedRevision"] == good[name] != seen["status"]["revision"]
        assert revision_of(namespace, name) == good[name]

    def only_the_old() -> bool:
        return all(pods_of(kubelet, name).keys() == old[name].keys() for name in FAILURES)

    wait_until(only_the_old, "only the pods that served all along")

    def told() -> set[str]:
        events = namespace.list("events.events.k8s.io")
        return {
            e["regarding"]["name"] for e in events if (e["type"], e["reason"]) == ("Warning", "RolledBack")
        }

    wait_until(lambda: told() == FAILURES.keys(), "an event of each")


def test_by_hand_the_failure_stays_and_so_does_what_serves(
    namespace: Kubectl, model: Build, kubelet: Any
) -> None:
    namespace.apply(model(rollback="manual"))
    kubelet.run_until_ready()
    old = pods_of(kubelet, "telco")
    namespace.apply(model(rollback="manual", model=BAD))
    fail(kubelet, "telco", old, {"ended": {"exitCode": 137, "reason": "OOMKilled"}})
    namespace.apply(model(rollback="manual", model=BAD, **NOW))
    seen = wait_for_reason(namespace, "telco", "Stalled", "OOMKilled")
    assert condition(seen, "Available")["status"] == "True"
    assert revision_of(namespace, "telco") == seen["status"]["revision"]
    assert old.keys() < pods_of(kubelet, "telco").keys()


def test_a_rollback_outlasts_a_restart_and_an_autoscaler_and_ends_with_the_next_revision(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    namespace.apply(model())
    good = kubelet.run_until_ready()["status"]["revision"]
    old = pods_of(kubelet, "telco")
    namespace.apply(model(model=BAD))
    fail(kubelet, "telco", old, said("GoldenMismatch"))
    namespace.apply(model(model=BAD, **NOW))
    wait_for_reason(namespace, "telco", "Ready", "RolledBack")
    wait_until(lambda: pods_of(kubelet, "telco").keys() == old.keys(), "only the old pods")
    operator.settle(operator.audit(), quiet_seconds=6)  # counts wait for more

    audit = operator.audit()
    operator.stop(signal.SIGKILL)
    operator.start()
    assert [write for write in operator.settle(audit) if write.namespace == namespace.namespace] == []

    namespace.apply(model(model=BAD, autoscaling=AUTOSCALING, **NOW))
    wait_until(lambda: namespace.get("horizontalpodautoscaler", "telco"), "the autoscaler")
    operator.settle(operator.audit())
    assert revision_of(namespace, "telco") == good
    assert condition(namespace.get("churnmodel", "telco"), "Ready")["reason"] == "RolledBack"

    namespace.apply(model(model=OTHER))  # with time to get ready, however busy the machine is
    third = kubelet.run_until_ready()["status"]["revision"]
    assert revision_of(namespace, "telco") == third != good
    namespace.apply(model(model=BAD, rollback="manual"))
    wait_until(lambda: revision_of(namespace, "telco") not in {third, good}, "the bad one tried again")
