"""What somebody deletes or edits by hand comes back."""

import pytest

from churn_dev.bundles import Models
from churn_dev.churnmodel import churn_model, wait_ready
from churn_dev.kubectl import Kubectl, Object, wait_until

pytestmark = pytest.mark.cluster

AUTOSCALING: Object = {"minReplicas": 2, "maxReplicas": 2, "targetCPUUtilizationPercentage": 70}
"""It has nothing to choose: a replica more in the Deployment would be no repair."""
EDITS: dict[str, Object] = {
    "deployment": {"spec": {"progressDeadlineSeconds": 1234}},
    "service": {"spec": {"selector": {"churnops.io/model": "somebody-else"}}},
    "horizontalpodautoscaler": {"spec": {"maxReplicas": 9}},
    "poddisruptionbudget": {"spec": {"maxUnavailable": 2}},
    "networkpolicy": {"spec": {"ingress": [{}]}},
    "configmap": {"data": {"serving.json": "{}"}},
}


@pytest.fixture
def settled(namespace: Kubectl, models: Models) -> Kubectl:
    namespace.apply(churn_model("telco", models.first.model, autoscaling=AUTOSCALING))
    wait_ready(namespace, "telco")
    return namespace


def test_every_deleted_child_comes_back(settled: Kubectl) -> None:
    for kind in EDITS:
        before = settled.get(kind, "telco")
        assert before is not None, kind
        settled.delete(kind, "telco", wait=False)

        def is_new(kind: str = kind, uid: str = before["metadata"]["uid"]) -> bool:
            seen = settled.get(kind, "telco")
            return seen is not None and seen["metadata"]["uid"] != uid

        wait_until(is_new, f"{kind} is back")


@pytest.mark.parametrize("kind", EDITS)
def test_an_edited_child_is_repaired(settled: Kubectl, kind: str) -> None:
    before = settled.get(kind, "telco")
    assert before is not None
    wanted = before.get("spec") or before["data"]
    settled.patch(kind, "telco", EDITS[kind])

    def is_repaired() -> bool:
        seen = settled.get(kind, "telco") or {}
        return (seen.get("spec") or seen.get("data")) == wanted

    wait_until(is_repaired, f"{kind} is repaired")
