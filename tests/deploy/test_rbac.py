"""The operator's rights are those it uses, resource by resource and verb by verb."""

from collections.abc import Callable

import pytest

from churn_dev.generate import CHART
from churn_dev.kubectl import Object
from churn_operator import kinds

Render = Callable[..., list[Object]]

READ = {"get", "list", "watch"}


def group_of(kind: kinds.Kind) -> str:
    """API group of a kind, empty for the core."""
    return kind.api_version.rpartition("/")[0]


def expected() -> dict[tuple[str, str], set[str]]:
    """Verbs by (group, resource), from the kinds that the operator works with."""
    model, pod = kinds.CHURN_MODEL, kinds.POD
    return {
        (group_of(kind), kind.plural): READ | {"create", "patch", "delete"} for kind in kinds.CHILD_KINDS
    } | {
        (group_of(model), model.plural): READ,
        (group_of(model), f"{model.plural}/status"): {"patch"},
        (group_of(model), f"{model.plural}/finalizers"): {"update"},
        (group_of(pod), pod.plural): {"list", "watch", "patch"},
        (group_of(kinds.SERVICE_ACCOUNT), kinds.SERVICE_ACCOUNT.plural): {"get"},
        (group_of(kinds.EVENT), kinds.EVENT.plural): {"create"},
    }


def granted(role: Object) -> dict[tuple[str, str], set[str]]:
    """Verbs by (group, resource) of a role's rules."""
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@pytest.mark.parametrize("namespaced", [False, True], ids=["cluster-wide", "namespaced"])
def test_the_operator_may_do_what_it_does_and_no_more(render: Render, namespaced: bool):
    kind = "Role" if namespaced else "ClusterRole"
    (role,) = [
        obj
        for obj in render({"namespaced": namespaced})
        if obj["kind"] == kind and obj["metadata"]["name"] == "churn-operator"
    ]
    assert granted(role) == expected()


@pytest.mark.parametrize("namespaced", [False, True], ids=["cluster-wide", "namespaced"])
def test_several_instances_may_use_their_own_lease_and_no_other(render: Render, namespaced: bool):
    objects = render({"namespaced": namespaced, "replicas": 2}, release="mine", namespace="there")
    (role,) = [
        obj for obj in objects if obj["metadata"]["name"] == "mine-churn-operator-lease" and "rules" in obj
    ]
    assert (role["kind"], role["metadata"]["namespace"]) == ("Role", "there")
    named, unnamed = role["rules"]
    assert (named["resourceNames"], set(named["verbs"])) == (["mine-churn-operator"], {"get", "patch"})
    assert unnamed["verbs"] == ["create"]
    assert {group for group, _ in granted(role)} == {group_of(kinds.LEASE)}


def test_a_single_instance_may_use_no_lease(render: Render):
    rules = [rule for obj in render() for rule in obj.get("rules", ())]
    assert [rule for rule in rules if kinds.LEASE.plural in rule["resources"]] == []


def test_every_kind_that_the_operator_knows_has_a_right():
    known = {value for value in vars(kinds).values() if isinstance(value, kinds.Kind)} - {kinds.LEASE}
    assert {(group_of(kind), kind.plural) for kind in known} <= expected().keys()


def test_nothing_in_the_chart_grants_everything_or_more_rights(render: Render):
    for values in (CHART / "ci").glob("*-values.yaml"):
        for role in render(values):
            for (group, resource), verbs in granted(role).items() if role["kind"].endswith("Role") else ():
                assert "*" not in {group, resource} | verbs, role
                assert not verbs & {"escalate", "bind", "impersonate"}, role
                assert resource not in {"secrets", "nodes", "namespaces"}, role


def test_users_get_rights_on_models_only_where_asked(render: Render):
    asked = [
        obj
        for obj in render({"aggregateRoles": True})
        if "aggregate-to" in str(obj["metadata"].get("labels", {}))
    ]
    assert len(asked) == 2
    for role in asked:
        assert {group for group, _ in granted(role)} == {"churnops.io"}
