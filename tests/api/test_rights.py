"""What the operator may do is what it does: granted less used is empty."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from churn_dev.audit import Request
from churn_dev.kubectl import Kubectl, Object, condition, wait_until
from churn_dev.operator_process import SYSTEM
from churn_operator.kinds import (
    AUTOSCALER,
    CHILD_KINDS,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SERVICE,
    Kind,
)

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

Build = Callable[..., Object]
Right = tuple[str, str]
"""A verb and a resource."""

REVIEWED: dict[Right, str] = {
    ("update", "churnmodels/finalizers"): (
        "asked for by the API server's OwnerReferencesPermissionEnforcement as a child is written; no request"
    ),
}
"""Rights that no request of the operator shows, and why it has them."""

_LABELS = {"app": "mine"}
_POD = {
    "metadata": {"labels": _LABELS},
    "spec": {"containers": [{"name": "a", "image": "registry.example/a"}]},
}
_TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mine"}
_FOREIGN: dict[Kind, Object] = {
    CONFIG_MAP: {"data": {"a": "b"}},
    CONTROLLER_REVISION: {"revision": 1, "data": {"a": "b"}},
    NETWORK_POLICY: {"spec": {"podSelector": {"matchLabels": _LABELS}, "policyTypes": ["Ingress"]}},
    SERVICE: {"spec": {"ports": [{"port": 1234}], "selector": _LABELS}},
    DISRUPTION_BUDGET: {"spec": {"minAvailable": 1, "selector": {"matchLabels": _LABELS}}},
    DEPLOYMENT: {"spec": {"replicas": 0, "selector": {"matchLabels": _LABELS}, "template": _POD}},
    AUTOSCALER: {"spec": {"maxReplicas": 2, "scaleTargetRef": _TARGET}},
}
"""The least that the API server takes of each kind of child."""


def foreign(kind: Kind, name: str, **metadata: Any) -> Object:
    """An object of somebody else's."""
    identity = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name} | metadata}
    return identity | _FOREIGN[kind]


def used(requests: Iterable[Request]) -> set[Right]:
    """Rights that requests needed which were not refused. To apply what is not there takes `create` too."""
    found = {(each.verb, each.target) for each in requests if each.code < 400}
    made = {("create", each.target) for each in requests if (each.verb, each.code) == ("patch", 201)}
    return found | made


def granted(kubectl: Kubectl) -> set[Right]:
    """What the chart's ClusterRole allows."""
    role = kubectl.get("clusterrole", SYSTEM) or {}
    return {
        (verb, resource) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }


def test_every_right_is_used(namespace: Kubectl, model: Build, kubelet: Any, operator: Any) -> None:
    audit = operator.audit()
    operator.stop()
    operator.start()  # lists and watches

    namespace.apply(
        model(autoscaling={"minReplicas": 2, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50})
    )
    status = kubelet.run_until_ready()["status"]
    namespace.apply(model(decision={"threshold": 0.9}))  # told to pods
    meet_names_that_are_taken(namespace, model, status["revision"])
    take_what_nobody_wants(namespace)
    namespace.apply(lent := {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "lent"}})
    namespace.apply(model(serving={"serviceAccountName": lent["metadata"]["name"]}))
    wait_until(
        lambda: stalled(namespace, "telco") == "ServiceAccountNotAllowed", "the account refused", seconds=20
    )
    for number in range(3):  # more than are kept
        namespace.apply(model(serving={"image": f"registry.example/serving:{number}"}))
        kubelet.run_until_ready()
    namespace.delete("service", "telco")  # is the ChurnModel still there?
    wait_until(lambda: namespace.get("service", "telco"), "the Service is back", seconds=20)

    operator.stop()  # a watch is logged when it ends
    operator.start()
    asked = used(audit.requests())
    assert granted(namespace) - asked == REVIEWED.keys()


def meet_names_that_are_taken(namespace: Kubectl, model: Build, revision: str) -> None:
    """For each kind of child a ChurnModel whose child's name belongs to somebody else: it is read."""
    names = {kind: kind.plural[:20] for kind in CHILD_KINDS}
    autoscaling = {"minReplicas": 2, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    for kind, name in names.items():
        taken = f"{name}-{revision}" if kind is CONTROLLER_REVISION else name
        namespace.apply(foreign(kind, taken))
        namespace.apply(model(autoscaling=autoscaling) | {"metadata": {"name": name}})
    for name in names.values():
        wait_until(lambda name=name: stalled(namespace, name) == "NameConflict", f"{name} stalls", seconds=20)
        namespace.delete("churnmodel", name)


def take_what_nobody_wants(namespace: Kubectl) -> None:
    """An object of each kind that names our ChurnModel as its controller and is none of its children."""
    uid = (namespace.get("churnmodel", "telco") or {})["metadata"]["uid"]
    owner = {"apiVersion": "churnops.io/v1alpha1", "kind": "ChurnModel", "name": "telco", "uid": uid}
    mark = {"labels": {"churnops.io/model": "telco"}, "ownerReferences": [owner | {"controller": True}]}
    for kind in CHILD_KINDS:
        namespace.apply(foreign(kind, "stray", **mark))
    for kind in set(CHILD_KINDS) - {CONTROLLER_REVISION}:
        wait_until(
            lambda kind=kind: namespace.get(kind.plural, "stray") is None, f"no stray {kind.kind}", seconds=20
        )


def stalled(kubectl: Kubectl, name: str) -> str:
    """Why it stalls; empty where it does not."""
    return str(condition(kubectl.get("churnmodel", name), "Stalled").get("reason", ""))


def test_no_secret_is_read_and_none_is_told(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any, cluster: Any
) -> None:
    """Credentials are the kubelet's business: the operator names the Secret and never sees it."""
    word = "correct-horse-battery"
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "store"},
        "stringData": {"token": word},
    }
    namespace.apply(secret)
    source = {
        "uri": "https://models.example/telco",
        "digest": "sha256:" + "0" * 64,
        "credentialsSecret": "store",
    }
    namespace.apply(model(model=source))
    kubelet.run_until_ready()
    asked = [json.loads(line) for line in cluster.audit_log.read_text().splitlines() if '"secrets"' in line]
    assert {each["userAgent"] for each in asked if each["userAgent"].startswith("churn-operator/")} == set()
    assert "secrets" not in {resource for _, resource in granted(namespace)}
    told = [namespace.run("get", kind, "--output=yaml") for kind in ("churnmodel", "events", "all,configmap")]
    assert word not in operator.log.read_text() + "".join(told)
