"""What each account of the chart may do is what it does: granted less used is empty."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, NamedTuple

import pytest

from churn_dev.audit import AuditLog, Request, whole_lines
from churn_dev.generate import CRD, ROOT
from churn_dev.kubectl import Kubectl, Object, condition, wait_until
from churn_dev.operator_process import SYSTEM, render_rights
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

from .conftest import ONE_NAMESPACE

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

Build = Callable[..., Object]


class Right(NamedTuple):
    """What may be done. `resource` is as rules write it: `churnmodels/status` for a subresource."""

    group: str
    resource: str
    verb: str


REVIEWED: dict[Right, str] = {
    Right("churnops.io", "churnmodels/finalizers", "update"): (
        "asked for by the API server's OwnerReferencesPermissionEnforcement as a child is written; no request"
    ),
}
"""Rights that no request of the operator shows, and why it has them."""
FOR_PEOPLE = {
    f"{SYSTEM}-view": "bound to nobody; tests/deploy/test_rbac.py says of what it is made",
    f"{SYSTEM}-edit": "bound to nobody; tests/deploy/test_rbac.py says of what it is made",
}
"""Roles that are added to those of the cluster's users."""

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
    requests = list(requests)
    found = {Right(each.group, each.target, each.verb) for each in requests if each.code < 400}
    made = [each for each in requests if (each.verb, each.code) == ("patch", 201)]
    return found | {Right(each.group, each.target, "create") for each in made}


def granted(kubectl: Kubectl, account: str) -> set[Right]:
    """All that bindings give to an account of the namespace."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": kubectl.namespace}
    bindings = [*kubectl.list("clusterrolebindings"), *kubectl.list("rolebindings")]
    bound = [each["roleRef"] for each in bindings if subject in each.get("subjects", ())]
    roles = [kubectl.get(each["kind"], each["name"]) for each in bound]
    rules = [rule for role in roles for rule in (role or {})["rules"]]
    return {
        Right(*right)
        for rule in rules
        for right in product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


class Account(NamedTuple):
    """An operator as the chart sets it up, all that it asks, and what it may ask."""

    operator: Any
    audit: AuditLog
    granted: set[Right]


@pytest.fixture(params=["cluster-wide", "of one namespace, two replicas"])
def account(request: pytest.FixtureRequest, namespace: Kubectl, operator: Any) -> Account:
    if request.param == "cluster-wide":
        return Account(operator, operator.audit(), granted(namespace.within(SYSTEM), SYSTEM))
    start_replica = request.getfixturevalue("start_replica")
    audit = operator.audit()
    return Account(start_replica(), audit, granted(namespace, SYSTEM))


def test_every_right_is_used(namespace: Kubectl, model: Build, kubelet: Any, account: Account) -> None:
    operator, audit, allowed = account
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
    wait_until(lambda: stalled(namespace, "telco") == "ServiceAccountNotAllowed", "the account refused")
    for number in range(3):  # more than are kept
        namespace.apply(model(serving={"image": f"registry.example/serving:{number}"}))
        kubelet.run_until_ready()
    namespace.delete("service", "telco")  # is the ChurnModel still there?
    wait_until(lambda: namespace.get("service", "telco"), "the Service is back")

    operator.stop()  # a watch is logged when it ends
    operator.start()
    assert allowed - used(audit.requests()) == REVIEWED.keys()


def test_every_right_of_the_hook_is_used(namespace: Kubectl, operator: Any, as_chart: Any) -> None:
    hook = f"{SYSTEM}-crd"
    kubeconfig = as_chart(SYSTEM, account=hook)
    audit = operator.audit()
    command = [sys.executable, "-m", "churn_operator.crd_apply", ROOT / "crds" / CRD]
    environment = os.environ | {"KUBECONFIG": str(kubeconfig)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    allowed = granted(namespace.within(SYSTEM), hook)
    assert allowed
    assert allowed - used(audit.requests()) == set()


@pytest.mark.parametrize("values", [(), ONE_NAMESPACE, ("aggregateRoles=true",)], ids=str)
def test_no_role_of_the_chart_is_left_out(values: tuple[str, ...]) -> None:
    """Each is bound to an account of the tests above, or is for people."""
    rights = render_rights(SYSTEM, *values)
    bound = {
        each["roleRef"]["name"]
        for each in rights
        if each["kind"].endswith("Binding")
        for subject in each["subjects"]
        if subject["name"] in {SYSTEM, f"{SYSTEM}-crd"}
    }
    roles = {each["metadata"]["name"] for each in rights if each["kind"].endswith("Role")}
    assert roles - bound <= FOR_PEOPLE.keys()


def meet_names_that_are_taken(namespace: Kubectl, model: Build, revision: str) -> None:
    """For each kind of child a ChurnModel whose child's name belongs to somebody else: it is read."""
    names = {kind: kind.plural[:20] for kind in CHILD_KINDS}
    autoscaling = {"minReplicas": 2, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    for kind, name in names.items():
        taken = f"{name}-{revision}" if kind is CONTROLLER_REVISION else name
        namespace.apply(foreign(kind, taken))
        namespace.apply(model(autoscaling=autoscaling) | {"metadata": {"name": name}})
    for name in names.values():
        wait_until(lambda name=name: stalled(namespace, name) == "NameConflict", f"{name} stalls")
        namespace.delete("churnmodel", name)


def take_what_nobody_wants(namespace: Kubectl) -> None:
    """An object of each kind that names our ChurnModel as its controller and is none of its children."""
    uid = (namespace.get("churnmodel", "telco") or {})["metadata"]["uid"]
    owner = {"apiVersion": "churnops.io/v1alpha1", "kind": "ChurnModel", "name": "telco", "uid": uid}
    mark = {"labels": {"churnops.io/model": "telco"}, "ownerReferences": [owner | {"controller": True}]}
    for kind in CHILD_KINDS:
        namespace.apply(foreign(kind, "stray", **mark))
    for kind in set(CHILD_KINDS) - {CONTROLLER_REVISION}:
        wait_until(lambda kind=kind: namespace.get(kind.plural, "stray") is None, f"no stray {kind.kind}")


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
    asked = [json.loads(line) for line in whole_lines(cluster.audit_log) if b'"secrets"' in line]
    assert {each["userAgent"] for each in asked if each["userAgent"].startswith("churn-operator/")} == set()
    assert "secrets" not in {right.resource for right in granted(namespace.within(SYSTEM), SYSTEM)}
    told = [namespace.run("get", kind, "--output=yaml") for kind in ("churnmodel", "events", "all,configmap")]
    assert word not in operator.log.read_text() + "".join(told)
