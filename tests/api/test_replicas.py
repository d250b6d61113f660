"""Who owns the number of replicas, and how it passes from one to the other."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from churn_dev.kubectl import Kubectl, Object, condition, wait_until

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

Build = Callable[..., Object]
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 8, "targetCPUUtilizationPercentage": 70}


def replicas(kubectl: Kubectl) -> int:
    return int((kubectl.get("deployment", "telco") or {"spec": {"replicas": -1}})["spec"]["replicas"])


def owners(kubectl: Kubectl) -> set[str]:
    """Field managers that own the Deployment's replicas."""
    printed = kubectl.run("get", "deployment", "telco", "--show-managed-fields", "--output=json")
    entries = json.loads(printed)["metadata"]["managedFields"]
    return {e["manager"] for e in entries if "f:replicas" in e["fieldsV1"].get("f:spec", {})}


def wait_for_replicas(kubectl: Kubectl, count: int) -> None:
    wait_until(lambda: replicas(kubectl) == count, f"{count} replicas")


def test_the_number_passes_to_the_autoscaler_as_it_is(namespace: Kubectl, model: Build) -> None:
    namespace.apply(model(replicas=5))
    wait_for_replicas(namespace, 5)
    namespace.apply(model(replicas=5, autoscaling=AUTOSCALING))
    wait_until(lambda: namespace.get("horizontalpodautoscaler", "telco"), "the autoscaler")
    assert replicas(namespace) == 5
    namespace.run("scale", "deployment/telco", "--replicas=6")
    assert "churn-operator" not in owners(namespace)


def test_what_the_autoscaler_set_survives_a_change_of_the_spec(namespace: Kubectl, model: Build) -> None:
    namespace.apply(model(autoscaling=AUTOSCALING))
    wait_until(lambda: namespace.get("horizontalpodautoscaler", "telco"), "the autoscaler")
    assert replicas(namespace) == 2
    namespace.run("scale", "deployment/telco", "--replicas=7")
    namespace.apply(model(autoscaling=AUTOSCALING, serving={"nodeSelector": {"disk": "ssd"}}))

    def changed() -> bool:
        found = namespace.get("deployment", "telco") or {}
        return bool(found["spec"]["template"]["spec"].get("nodeSelector"))

    wait_until(changed, "the new template")
    assert replicas(namespace) == 7


def test_a_number_that_no_autoscaler_changed_survives_too(namespace: Kubectl, model: Build) -> None:
    """The operator itself seeded it, and would reset it to 1 by leaving it out."""
    wide = AUTOSCALING | {"minReplicas": 3}
    namespace.apply(model(autoscaling=wide))
    wait_for_replicas(namespace, 3)
    namespace.apply(model(autoscaling=wide, serving={"nodeSelector": {"disk": "ssd"}}))

    def changed() -> bool:
        found = namespace.get("deployment", "telco") or {}
        return bool(found["spec"]["template"]["spec"].get("nodeSelector"))

    wait_until(changed, "the new template")
    assert replicas(namespace) == 3


def test_without_autoscaler_the_spec_counts_again(namespace: Kubectl, model: Build) -> None:
    namespace.apply(model(autoscaling=AUTOSCALING))
    wait_for_replicas(namespace, 2)
    namespace.run("scale", "deployment/telco", "--replicas=6")
    namespace.apply(model(replicas=4))
    wait_for_replicas(namespace, 4)
    assert namespace.get("horizontalpodautoscaler", "telco") is None
    assert "churn-operator" in owners(namespace)


def test_there_and_back_between_autoscaler_and_spec(namespace: Kubectl, model: Build) -> None:
    namespace.apply(model(replicas=4))
    wait_for_replicas(namespace, 4)
    for _ in range(2):
        namespace.apply(model(replicas=4, autoscaling=AUTOSCALING))
        wait_until(lambda: namespace.get("horizontalpodautoscaler", "telco"), "the autoscaler")
        assert replicas(namespace) == 4
        namespace.apply(model(replicas=4))
        wait_until(lambda: not namespace.get("horizontalpodautoscaler", "telco"), "no autoscaler")
        assert replicas(namespace) == 4


def test_kubectl_scale_sets_the_replicas(namespace: Kubectl, model: Build) -> None:
    namespace.apply(model())
    wait_for_replicas(namespace, 2)
    namespace.run("scale", "churn/telco", "--replicas=3")
    wait_for_replicas(namespace, 3)
    path = f"/apis/churnops.io/v1alpha1/namespaces/{namespace.namespace}/churnmodels/telco/scale"

    def selected() -> str | None:
        selector: str | None = json.loads(namespace.run("get", f"--raw={path}"))["status"].get("selector")
        return selector

    assert wait_until(selected, "the selector") == "churnops.io/model=telco"


def test_replicas_set_on_the_deployment_by_hand_are_put_back(namespace: Kubectl, model: Build) -> None:
    namespace.apply(model())
    wait_for_replicas(namespace, 2)
    namespace.run("scale", "deployment/telco", "--replicas=9")
    wait_for_replicas(namespace, 2)


def test_suspending_and_resuming_with_an_autoscaler(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    """An autoscaler does nothing at 0 replicas: it must be woken."""
    namespace.apply(model(autoscaling=AUTOSCALING))
    kubelet.run_until_ready()
    namespace.patch("churnmodel", "telco", {"spec": {"suspend": True}})
    wait_for_replicas(namespace, 0)
    assert namespace.get("horizontalpodautoscaler", "telco") is None

    def suspended() -> Object | None:
        seen = namespace.get("churnmodel", "telco")
        said = condition(seen, "Ready")
        return seen if said["reason"] == "Suspended" and not (seen or {})["status"]["replicas"] else None

    seen = wait_until(suspended, "Suspended")
    kinds = {c["type"] for c in seen["status"]["conditions"]}
    assert not kinds & {"Reconciling", "Stalled"}
    namespace.patch("churnmodel", "telco", {"spec": {"suspend": False}})
    wait_for_replicas(namespace, 2)
    kubelet.run_until_ready()
    assert namespace.get("horizontalpodautoscaler", "telco")


def test_an_autoscaled_deployment_at_zero_is_woken(namespace: Kubectl, model: Build) -> None:
    namespace.apply(model(autoscaling=AUTOSCALING))
    wait_for_replicas(namespace, 2)
    namespace.run("scale", "deployment/telco", "--replicas=0")
    wait_for_replicas(namespace, 2)
