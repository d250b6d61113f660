"""A model that crashes on real nodes: its reason is told at once, what answered is back at its deadline."""

import time
from collections.abc import Callable

import pytest

from churn_dev.bundles import Models
from churn_dev.churnmodel import churn_model, predict, service_url, wait_ready
from churn_dev.kubectl import Kubectl, Object, condition, wait_until

pytestmark = pytest.mark.cluster


def test_a_crash_loop_is_told_and_ends_with_the_pods_that_answered(
    namespace: Kubectl, models: Models, customers: list[Object], measured: Callable[[str], None]
) -> None:
    namespace.apply(churn_model("telco", models.first.model))
    wait_ready(namespace, "telco")
    url = service_url(namespace, "telco")
    before = {pod["metadata"]["uid"] for pod in namespace.list("pods")}

    namespace.apply(churn_model("telco", models.falsified.model, progressDeadlineSeconds=15))
    wait_until(lambda: any(map(_has_ended, namespace.list("pods"))), "a container of the bad model ended")
    ended = time.monotonic()
    wait_until(lambda: _says(namespace, "ModelLoaded", "GoldenMismatch"), "the reason on the ChurnModel")
    measured(f"crash to its reason on the ChurnModel: {time.monotonic() - ended:.1f} s (goal: 10)")
    assert predict(url, customers)["version"] == "1"

    wait_until(lambda: _says(namespace, "Ready", "RolledBack"), "the rollback", seconds=180)
    seen = namespace.get("churnmodel", "telco") or {}
    assert "GoldenMismatch" in condition(seen, "Ready")["message"]
    assert condition(seen, "Available")["status"] == "True"
    wait_until(
        lambda: {pod["metadata"]["uid"] for pod in namespace.list("pods")} == before,
        "only the pods that answered all along",
        seconds=120,
    )
    assert predict(url, customers)["version"] == "1"


def _has_ended(pod: Object) -> bool:
    containers = pod["status"].get("containerStatuses", ())
    return any("terminated" in each[state] for each in containers for state in ("state", "lastState"))


def _says(kubectl: Kubectl, kind: str, reason: str) -> bool:
    return bool(condition(kubectl.get("churnmodel", "telco"), kind).get("reason") == reason)
