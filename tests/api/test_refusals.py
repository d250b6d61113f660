"""What stops a ChurnModel, how it says so, and how it goes on."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from churn_dev.kubectl import Kubectl, Object, condition, wait_until

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

Build = Callable[..., Object]


def wait_for_reason(kubectl: Kubectl, kind: str, reason: str) -> Object:
    """The ChurnModel once that condition has that reason."""

    def said() -> Object | None:
        seen = kubectl.get("churnmodel", "telco")
        return seen if condition(seen, kind).get("reason") == reason else None

    return wait_until(said, f"{kind} says {reason}")


FOREIGN: dict[str, Object] = {
    "service": {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "telco"},
        "spec": {"ports": [{"port": 1234}], "selector": {"app": "mine"}},
    },
    "configmap": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "telco"}, "data": {"a": "b"}},
    "a service with our labels": {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "telco",
            "labels": {"churnops.io/model": "telco", "app.kubernetes.io/managed-by": "churn-operator"},
        },
        "spec": {"ports": [{"port": 1234}], "selector": {"app": "mine"}},
    },
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_object_of_a_childs_name_is_never_touched(
    namespace: Kubectl, model: Build, case: str
) -> None:
    kind = FOREIGN[case]["kind"].lower()
    namespace.apply(FOREIGN[case])
    before = namespace.get(kind, "telco")
    namespace.apply(model())
    seen = wait_for_reason(namespace, "Stalled", "NameConflict")
    assert "telco exists and belongs to someone else" in condition(seen, "Stalled")["message"]
    assert condition(seen, "Ready")["status"] == "False"
    assert namespace.get(kind, "telco") == before
    namespace.delete("churnmodel", "telco")
    assert namespace.get(kind, "telco") == before


def test_a_name_conflict_ends_when_the_name_is_free(namespace: Kubectl, model: Build) -> None:
    namespace.apply(FOREIGN["a service with our labels"])
    namespace.apply(model())
    wait_for_reason(namespace, "Stalled", "NameConflict")
    namespace.delete("service", "telco")
    wait_until(lambda: namespace.get("deployment", "telco"), "the Deployment")


def test_an_identity_must_be_lent_by_its_owner(namespace: Kubectl, model: Build) -> None:
    namespace.apply(model(serving={"serviceAccountName": "powerful"}))
    seen = wait_for_reason(namespace, "Stalled", "ServiceAccountNotAllowed")
    assert "spec.serving.serviceAccountName: the ServiceAccount powerful does not exist" in json.dumps(seen)
    account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "powerful"}}
    namespace.apply(account)
    namespace.patch("churnmodel", "telco", {"metadata": {"annotations": {"look": "again"}}})
    wait_until(
        lambda: "does not carry the label" in json.dumps(namespace.get("churnmodel", "telco")),
        "the label's name",
    )
    assert namespace.get("deployment", "telco") is None
    account["metadata"]["labels"] = {"churnops.io/serving": "true"}
    namespace.apply(account)
    namespace.patch("churnmodel", "telco", {"metadata": {"annotations": {"look": "once more"}}})
    found = wait_until(lambda: namespace.get("deployment", "telco"), "the Deployment")
    assert found["spec"]["template"]["spec"]["serviceAccountName"] == "powerful"
    assert found["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_a_refused_child_is_named_and_tried_again(namespace: Kubectl, model: Build) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/deployments.apps": "0"}},
    }
    namespace.apply(quota)
    wait_until(
        lambda: (namespace.get("resourcequota", "none") or {}).get("status", {}).get("hard"), "the quota"
    )
    namespace.apply(model())
    seen = wait_for_reason(namespace, "Reconciling", "ApplyRefused")
    assert "exceeded quota" in condition(seen, "Ready")["message"]
    namespace.delete("resourcequota", "none")
    namespace.patch("churnmodel", "telco", {"metadata": {"annotations": {"look": "again"}}})
    wait_until(lambda: namespace.get("deployment", "telco"), "the Deployment", seconds=120)


def test_refused_pods_are_told(namespace: Kubectl, model: Build) -> None:
    """Pod Security of the namespace is no reason here, but a quota on pods is."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    namespace.apply(quota)
    wait_until(
        lambda: (namespace.get("resourcequota", "none") or {}).get("status", {}).get("hard"), "the quota"
    )
    namespace.apply(model())
    seen = wait_for_reason(namespace, "Ready", "PodsRefused")
    assert "exceeded quota" in condition(seen, "Ready")["message"]


def test_paused_stops_everything_and_says_so(namespace: Kubectl, model: Build, operator: Any) -> None:
    namespace.apply(model())
    wait_until(lambda: namespace.get("deployment", "telco"), "the Deployment")
    namespace.run("annotate", "churnmodel", "telco", "churnops.io/paused=true")
    wait_for_reason(namespace, "Paused", "Paused")
    audit = operator.audit()
    namespace.delete("service", "telco")
    for count in (3, 4, 5):
        namespace.patch("churnmodel", "telco", {"spec": {"replicas": count}})
    writes = [w for w in operator.settle(audit) if w.namespace == namespace.namespace]
    assert writes == []
    namespace.run("annotate", "churnmodel", "telco", "churnops.io/paused-")
    wait_until(lambda: namespace.get("service", "telco"), "the Service is back")

    def resumed() -> bool:
        kinds = {c["type"] for c in (namespace.get("churnmodel", "telco") or {})["status"]["conditions"]}
        found = namespace.get("deployment", "telco") or {}
        return "Paused" not in kinds and found["spec"]["replicas"] == 5

    wait_until(resumed, "only the last spec")
