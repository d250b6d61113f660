"""Scaling, draining, rolling and restarting, with traffic on the way."""

import time
from collections.abc import Callable
from http import HTTPStatus

import pytest

from churn_dev.audit import AuditLog
from churn_dev.bundles import Models
from churn_dev.churnmodel import churn_model, service_url, wait_ready
from churn_dev.cluster import Cluster
from churn_dev.kubectl import Kubectl, Object, wait_until
from churn_dev.load import Load

pytestmark = pytest.mark.cluster

# No window to look back on: the test waits for the descent, a cluster would not want it so fast.
QUICK: Object = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 5}],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 5,
        "policies": [{"type": "Pods", "value": 4, "periodSeconds": 5}],
    },
}


def test_autoscaling_follows_real_load_up_and_down(
    namespace: Kubectl, models: Models, customers: list[Object]
) -> None:
    autoscaling = {
        "minReplicas": 1,
        "maxReplicas": 3,
        "targetCPUUtilizationPercentage": 60,
        "behavior": QUICK,
    }
    namespace.apply(churn_model("telco", models.first.model, autoscaling=autoscaling))
    wait_ready(namespace, "telco")

    def replicas() -> int:
        return int((namespace.get("deployment", "telco") or {})["spec"]["replicas"])

    with Load(f"{service_url(namespace, 'telco')}/predict", {"records": customers}, rate=150) as load:
        wait_until(lambda: replicas() >= 2, "more replicas under load", seconds=150)
    wait_until(lambda: replicas() == 1, "one replica again without load", seconds=150)
    assert load.outcomes.statuses[HTTPStatus.OK] > 0


def test_a_node_drain_moves_the_replicas_and_the_model_answers_on(
    namespace: Kubectl, models: Models, customers: list[Object], measured: Callable[[str], None]
) -> None:
    namespace.apply(churn_model("telco", models.first.model, replicas=2))
    wait_ready(namespace, "telco")
    node = namespace.list("pods")[0]["spec"]["nodeName"]
    url = f"{service_url(namespace, 'telco')}/predict"
    try:
        with Load(url, {"records": customers}) as load:
            only_ours = "--pod-selector=churnops.io/model=telco"
            namespace.run(
                "drain", node, "--delete-emptydir-data", only_ours, "--timeout=120s", timeout_seconds=150
            )
            wait_ready(namespace, "telco")
            homes = {pod["spec"]["nodeName"] for pod in namespace.list("pods") if _is_running(pod)}
    finally:
        namespace.run("uncordon", node)
    measured(f"node drain, 2 replicas: {load.outcomes.describe()}")
    assert homes
    assert node not in homes
    assert load.outcomes.statuses[HTTPStatus.OK] > 0


def test_a_new_model_takes_over_under_load(
    namespace: Kubectl, models: Models, customers: list[Object], measured: Callable[[str], None]
) -> None:
    namespace.apply(churn_model("telco", models.first.model, replicas=2))
    wait_ready(namespace, "telco")
    url = f"{service_url(namespace, 'telco')}/predict"
    with Load(url, {"records": customers}) as load:
        wait_until(lambda: load.outcomes.versions["1"], "answers of the first model")
        namespace.apply(churn_model("telco", models.second.model, replicas=2))
        wait_ready(namespace, "telco")
        wait_until(lambda: len(namespace.list("pods")) == 2, "the old pods gone")
        wait_until(lambda: load.outcomes.versions["2"], "answers of the second model")
    measured(f"model rollout, 2 replicas: {load.outcomes.describe()}")
    assert set(load.outcomes.versions) == {"1", "2"}


def test_an_operator_restart_on_a_settled_cluster_writes_nothing(
    cluster: Cluster, namespace: Kubectl, models: Models
) -> None:
    # It has nothing to choose: a replica more would be a status more.
    autoscaling = {"minReplicas": 2, "maxReplicas": 2, "targetCPUUtilizationPercentage": 70}
    namespace.apply(
        churn_model("fixed", models.first.model),
        churn_model("scaled", models.first.model, autoscaling=autoscaling),
    )
    wait_ready(namespace, "fixed")
    wait_ready(namespace, "scaled")
    # Settled also means that nothing of an earlier test is still on its way out.
    wait_until(
        lambda: "Terminating" not in namespace.run("get", "namespaces"),
        "no namespace on its way out",
        seconds=300,
    )
    assert cluster.audit_log is not None
    AuditLog(cluster.audit_log, "churn-operator/").settle(quiet_seconds=5)
    system = namespace.within("churn-operator")

    log = AuditLog(cluster.audit_log, "churn-operator/")
    system.run("rollout", "restart", "deployment/churn-operator")
    system.run("rollout", "status", "deployment/churn-operator", "--timeout=90s")
    # Readiness comes after the first sync; a pass over every ChurnModel follows at once.
    time.sleep(10)

    seen = log.requests()
    assert seen, "the audit log does not know the operator"
    assert [str(request) for request in seen if request.is_write] == []


def _is_running(pod: Object) -> bool:
    return pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
