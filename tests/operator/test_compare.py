import copy
from typing import Any

import pytest

from churn_operator.compare import covers, foreign_paths, stamped, was_asked_for
from churn_operator.kinds import DEPLOYMENT, DISRUPTION_BUDGET, NETWORK_POLICY, SERVICE


def test_what_the_server_fills_in_is_no_difference(world: Any):
    wanted = world.desired.children[DEPLOYMENT]
    kept = copy.deepcopy(wanted)
    kept["spec"]["paused"] = False
    kept["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    kept["spec"]["template"]["spec"]["containers"][0]["terminationMessagePath"] = "/dev/termination-log"
    assert covers(kept, wanted)
    assert foreign_paths(kept, wanted) == []


@pytest.mark.parametrize(
    ("wanted", "kept"), [("1000m", "1"), (2, "2"), ("1024Mi", "1Gi"), ("0.5", "500m"), ("1.5Gi", "1536Mi")]
)
def test_quantities_in_other_words_are_the_same(wanted: Any, kept: Any):
    assert covers({"limits": {"cpu": kept}}, {"limits": {"cpu": wanted}})
    assert covers({"emptyDir": {"sizeLimit": kept}}, {"emptyDir": {"sizeLimit": wanted}})


def test_other_strings_that_look_like_quantities_are_not():
    assert not covers({"image": "1"}, {"image": "1000m"})
    assert not covers({"labels": {"limit": "1"}}, {"labels": {"limit": "1000m"}})


def test_lists_with_identities_may_come_in_another_order():
    wanted = {"env": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]}
    assert covers({"env": wanted["env"][::-1]}, wanted)
    assert not covers({"env": wanted["env"][:1]}, wanted)


def test_other_lists_must_be_the_same():
    assert not covers({"args": ["a", "b"]}, {"args": ["b", "a"]})
    assert not covers({"ingress": [{}, {}]}, {"ingress": [{}]})


def test_a_field_that_was_dropped_is_noticed_by_the_digest(world: Any):
    before, after = (
        stamped(w.desired.children[DEPLOYMENT])
        for w in (world.asking(serving={"nodeSelector": {"a": "b"}}), world)
    )
    assert was_asked_for(before, before)
    assert not was_asked_for(after, before)


def test_foreign_entries_are_named_last_first(world: Any):
    wanted = world.desired.children[SERVICE]
    kept = copy.deepcopy(wanted)
    kept["spec"]["ports"][1:1] = [
        {"name": "x", "port": 1, "protocol": "TCP"},
        {"name": "y", "port": 2, "protocol": "TCP"},
    ]
    kept["spec"]["selector"]["more"] = "z"
    assert sorted(foreign_paths(kept, wanted), key=str) == [
        ("spec", "ports", 1), ("spec", "ports", 2), ("spec", "selector", "more"),
    ]  # fmt: skip
    indices = [path[2] for path in foreign_paths(kept, wanted) if path[1] == "ports"]
    assert indices == [2, 1]


def test_more_in_a_budget_or_policy_is_foreign(world: Any):
    for kind, key in ((DISRUPTION_BUDGET, "minAvailable"), (NETWORK_POLICY, "egress")):
        wanted = world.desired.children[kind]
        kept = wanted | {"spec": wanted["spec"] | {key: 1}}
        assert foreign_paths(kept, wanted) == [("spec", key)]


def test_what_makes_a_pod_do_something_else_is_foreign(world: Any):
    wanted = world.desired.children[DEPLOYMENT]
    kept = copy.deepcopy(wanted)
    kept["spec"]["template"]["spec"] |= {
        "hostNetwork": True,
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [],
    }
    kept["spec"]["template"]["spec"]["containers"][0]["command"] = ["sh"]
    kept["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
    assert {path[-1] for path in foreign_paths(kept, wanted)} == {
        "hostNetwork", "nodeSelector", "tolerations", "command",
    }  # fmt: skip


def test_other_owners_and_notes_are_left_alone(world: Any):
    wanted = stamped(world.desired.children[SERVICE])
    kept = copy.deepcopy(wanted)
    kept["metadata"]["ownerReferences"].append({"uid": "another"})
    kept["metadata"]["annotations"]["other.example/note"] = "x"
    kept["metadata"]["labels"]["team"] = "a"
    assert covers(kept, wanted)
    assert foreign_paths(kept, wanted) == []


def test_a_label_may_have_any_name(world: Any):
    """`kubectl label deployment telco env=prod` is nobody's drift."""
    wanted = stamped(world.desired.children[DEPLOYMENT])
    kept = copy.deepcopy(wanted)
    kept["metadata"]["labels"]["env"] = "prod"
    kept["spec"]["template"]["metadata"]["labels"]["command"] = "x"
    assert foreign_paths(kept, wanted) == []


def test_a_label_called_value_is_no_quantity():
    assert not covers({"nodeSelector": {"value": "1"}}, {"nodeSelector": {"value": "1000m"}})
    assert not covers({"tolerations": [{"value": "1"}]}, {"tolerations": [{"value": "1000m"}]})
    assert covers({"target": {"value": "1"}}, {"target": {"value": "1000m"}})


def test_empty_fields_that_the_server_leaves_out_are_no_difference():
    assert covers({"spec": {}}, {"spec": {"nodeSelector": {}, "tolerations": []}})
    assert covers({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "a", "value": ""}]})
    assert not covers({"nodeSelector": {}}, {"nodeSelector": {"disk": ""}})


def test_more_inside_a_rule_of_a_policy_is_drift(world: Any):
    wanted = world.desired.children[NETWORK_POLICY]
    kept = copy.deepcopy(wanted)
    kept["spec"]["ingress"][0]["from"] = [{"podSelector": {}}]
    assert not covers(kept, wanted)
