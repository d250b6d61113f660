"""The whole path: applied, rolled out, scored, seen by kubectl, changed, deleted."""

import time
from collections.abc import Callable

import pytest

from churn_dev.bundles import Models
from churn_dev.churnmodel import churn_model, predict, service_url, wait_ready
from churn_dev.kubectl import Kubectl, Object, condition, wait_until

pytestmark = pytest.mark.cluster

CHILD_KINDS = (
    "deployments", "replicasets", "services", "horizontalpodautoscalers", "poddisruptionbudgets",
    "networkpolicies", "configmaps", "controllerrevisions", "pods",
)  # fmt: skip


def test_an_applied_model_answers_with_the_probabilities_of_its_training(
    namespace: Kubectl, models: Models
) -> None:
    namespace.apply(churn_model("telco", models.first.model))
    wait_ready(namespace, "telco")
    rows = models.first.golden_rows()

    said = predict(service_url(namespace, "telco"), [row["record"] for row in rows])

    assert [each["probability"] for each in said["predictions"]] == pytest.approx(
        [row["probability"] for row in rows], abs=1e-5
    )
    assert (said["model"], said["version"]) == ("telco", "1")


def test_kubectl_get_shows_ready_model_replicas_and_url(namespace: Kubectl, models: Models) -> None:
    namespace.apply(churn_model("telco", models.first.model))
    wait_ready(namespace, "telco")

    header, row = namespace.run("get", "churn").splitlines()

    assert header.split() == ["NAME", "READY", "MODEL", "REPLICAS", "URL", "AGE"]
    short = models.first.digest.removeprefix("sha256:")[:12]
    name, ready, model, replicas, url, _age = row.split()
    assert (name, ready, replicas) == ("telco", "True", "1")
    assert short in model
    assert url == f"http://telco.{namespace.namespace}.svc"


def test_a_new_threshold_reaches_running_pods_without_a_restart(
    namespace: Kubectl, models: Models, customers: list[Object], measured: Callable[[str], None]
) -> None:
    namespace.apply(churn_model("telco", models.first.model, decision={"threshold": 0.5}))
    wait_ready(namespace, "telco")
    url = service_url(namespace, "telco")
    pods = {pod["metadata"]["uid"] for pod in namespace.list("pods")}

    asked_at = time.monotonic()
    namespace.patch("churnmodel", "telco", {"spec": {"decision": {"threshold": 0.01}}})

    wait_until(
        lambda: predict(url, customers)["predictions"][0]["threshold"] == 0.01,
        "the new threshold",
    )
    measured(f"a new threshold in the answers: {time.monotonic() - asked_at:.1f} s (goal: 3)")
    assert all(
        each["churn"] == (each["probability"] >= 0.01) for each in predict(url, customers)["predictions"]
    )
    assert {pod["metadata"]["uid"] for pod in namespace.list("pods")} == pods


def test_suspend_takes_the_pods_away_and_resume_brings_them_back(namespace: Kubectl, models: Models) -> None:
    namespace.apply(churn_model("telco", models.first.model))
    wait_ready(namespace, "telco")

    namespace.patch("churnmodel", "telco", {"spec": {"suspend": True}})
    wait_until(lambda: not namespace.list("pods"), "no pods while suspended")
    wait_until(lambda: _is_suspended(namespace), "Ready says that it is suspended")

    namespace.patch("churnmodel", "telco", {"spec": {"suspend": False}})
    wait_ready(namespace, "telco")


def test_kubectl_scale_changes_the_replicas(namespace: Kubectl, models: Models) -> None:
    namespace.apply(churn_model("telco", models.first.model))
    wait_ready(namespace, "telco")

    namespace.run("scale", "churnmodel/telco", "--replicas=2")

    wait_until(
        lambda: (namespace.get("deployment", "telco") or {}).get("status", {}).get("readyReplicas") == 2,
        "two ready",
    )


def test_deletion_leaves_nothing(namespace: Kubectl, models: Models) -> None:
    namespace.apply(churn_model("telco", models.first.model, replicas=2))
    wait_ready(namespace, "telco")

    namespace.delete("churnmodel", "telco")

    def left() -> list[str]:
        found = namespace.run("get", ",".join(CHILD_KINDS), "--output=name").split()
        return [name for name in found if name != "configmap/kube-root-ca.crt"]

    wait_until(lambda: not left(), "every child gone", seconds=90)


def _is_suspended(kubectl: Kubectl) -> bool:
    said = condition(kubectl.get("churnmodel", "telco"), "Ready")
    return (said["status"], said["reason"]) == ("False", "Suspended")
