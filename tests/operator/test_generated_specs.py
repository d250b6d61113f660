"""Whatever spec the schema admits, and what it just does not: what holds for every ChurnModel."""

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_operator.api.conditions import Reason
from churn_operator.api.v1alpha1 import Status, parse_spec
from churn_operator.compare import covers, foreign_paths, stamped
from churn_operator.decide import Halt
from churn_operator.digests import canonical_json
from churn_operator.errors import InvalidSpecError
from churn_operator.kinds import DEPLOYMENT

from ..chance import THOROUGH, generated  # noqa: TID252  # lanes share how they draw
from .conftest import World
from .crd_strategies import (
    PIN,
    as_kept,
    broken_specs,
    nodes,
    places,
    replaced,
    specs,
    turned,
    wrong_value,
)
from .pod_security import breaches

tried = generated(10_000 if THOROUGH else 150)
tried_less = generated(1_000 if THOROUGH else 150)
"""A long run of what is no end that a ChurnModel comes to: a spec takes tens of milliseconds to draw."""
LENT = {"metadata": {"name": "lent", "labels": {"churnops.io/serving": "true"}}}
POD_FIELDS = {
    "automountServiceAccountToken", "containers", "enableServiceLinks", "imagePullSecrets", "initContainers",
    "nodeSelector", "priorityClassName", "securityContext", "serviceAccountName",
    "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints", "volumes",
}  # fmt: skip


def world_of(spec: Any, **more: Any) -> World:
    return World(spec=spec, service_account=LENT, **more)


@tried
@given(specs())
def test_a_spec_that_the_schema_admits_comes_to_be_ready(spec: Any):
    world = world_of(spec)
    served = world.serving(world.plan.needed)
    idle = "Suspended" if spec.get("suspend") else "ScaledToZero"
    assert served.says("Ready") == (("True", "Ready") if world.plan.needed else ("False", idle))
    assert served.report().status == served.status


@tried
@given(broken_specs())
def test_a_wrong_value_halts_with_its_field_named(broken: Any):
    spec, field = broken
    halt = world_of(spec).decision
    assert isinstance(halt, Halt)
    assert halt.reason is Reason.INVALID_SPEC
    assert field in halt.message
    assert field in world_of(spec).told().condition("Stalled")["message"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@tried_less
@given(specs(), st.data())
def test_any_json_in_any_place_is_read_or_refused(spec: Any, data: Any):
    found = sorted({place for path, _ in nodes() for place in places(spec, path)}, key=str)
    broken = replaced(spec, data.draw(st.sampled_from(found)), data.draw(JSON))
    try:
        parse_spec({"spec": broken})
    except InvalidSpecError as error:
        assert str(error).startswith("spec.")  # noqa: PT017  # either end is right


@tried_less
@given(specs())
def test_desired_is_the_same_whatever_the_order_of_the_maps(spec: Any):
    once, again = world_of(spec), world_of(turned(spec))
    assert once.plan.revision.hash == again.plan.revision.hash
    children = [
        canonical_json({k.kind: stamped(c) for k, c in w.desired.children.items()}) for w in (once, again)
    ]
    assert children[0] == children[1]


@tried_less
@given(specs())
def test_what_was_applied_is_found_as_the_server_keeps_it(spec: Any):
    for child in world_of(spec).desired.children.values():
        wanted = stamped(child)
        for kept in (copy.deepcopy(wanted), as_kept(wanted)):
            assert covers(kept, wanted)
            assert foreign_paths(kept, wanted) == []


@tried_less
@given(specs())
def test_pods_keep_to_pod_security_restricted_and_reach_nothing_else(spec: Any):
    world = world_of(spec)
    template = world.desired.children[DEPLOYMENT]["spec"]["template"]
    assert breaches(template) == []
    pod = template["spec"]
    assert pod.keys() <= POD_FIELDS
    assert pod["automountServiceAccountToken"] is False
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {
        "configMap", "emptyDir", "image", "persistentVolumeClaim", "secret",
    }  # fmt: skip
    # Of a Secret that an author names only the files of access are there, and only for the server.
    files = {
        item["key"] for volume in pod["volumes"] for item in volume.get("secret", {"items": []})["items"]
    }
    assert files <= {"keys.json", "jwks.json", "tls.crt", "tls.key"}
    fetching = [mount["name"] for each in pod.get("initContainers", ()) for mount in each["volumeMounts"]]
    assert {"auth", "tls"}.isdisjoint(fetching)
    assert all(child["metadata"]["namespace"] == "shop" for child in world.desired.children.values())
    # References have a name and never a namespace: what they name is in the pod's own.
    assert '"namespace"' not in json.dumps(pod)
    assert template["metadata"]["labels"]["churnops.io/model"] == "telco"


@tried_less
@given(specs())
def test_an_account_without_the_label_is_never_used(spec: Any):
    spec = spec | {"serving": spec.get("serving", {}) | {"serviceAccountName": "powerful"}}
    for account in (None, {"metadata": {"name": "powerful"}}):
        assert World(spec=spec, service_account=account).halt.reason is Reason.SERVICE_ACCOUNT_NOT_ALLOWED


@tried_less
@given(specs(), specs())
def test_a_revision_is_its_model_image_and_serving(one: Any, other: Any):
    plans = [world_of(spec).plan for spec in (one, other)]
    same = plans[0].revision.wire() == plans[1].revision.wire()
    assert (plans[0].revision.hash == plans[1].revision.hash) == same
    bytes_of_one = {"model": one["model"]} | ({"serving": one["serving"]} if "serving" in one else {})
    rest = {key: value for key, value in other.items() if key not in {"model", "serving"}}
    assert world_of(bytes_of_one | rest).plan.revision.hash == plans[0].revision.hash


@tried_less
@given(specs(), specs())
def test_there_and_back_gives_the_same_children(here: Any, there: Any):
    first = settled(world_of(here))
    away = settled(replace(first, spec=there, generation=2))
    back = settled(replace(away, spec=here, generation=3))
    assert plain(back) == plain(first)


def settled(world: World) -> World:
    """All that the spec asks for is there, and its replicas serve."""
    return world.serving(world.plan.needed)


def plain(world: World) -> Any:
    """The wanted children; without what counts earlier ones: a record's number, replicas that others set."""
    children = {kind.kind: copy.deepcopy(child) for kind, child in world.desired.children.items()}
    del children["ControllerRevision"]["revision"]
    if world.plan.autoscaled:
        children["Deployment"]["spec"].pop("replicas", None)
    return children


@tried_less
@given(specs(), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_a_status_is_always_one_that_the_crd_takes(spec: Any, replicas: int, ready: int, current: bool):
    world = world_of(spec).applied()
    for index in range(replicas):
        world = world.with_pod(ready=index < ready)
    world = world.deployment_says(
        observedGeneration=int(current), replicas=replicas, updatedReplicas=replicas, availableReplicas=ready
    ).told()
    Status.model_validate(world.status)
    if world.condition("Ready")["status"] == "True":
        assert current
        assert ready >= world.plan.needed > 0


def test_a_message_longer_than_the_api_takes_is_cut():
    labels = {f"{number:04}!" * 12: "x" for number in range(1500)}
    tolerations = [{"key": "!"}] * 1000
    spec = {
        "model": {"uri": "oci://a/b", "digest": PIN},
        "serving": {"podLabels": labels, "tolerations": tolerations},
    }
    Status.model_validate(World(spec=spec).told().status)


SPECS: tuple[Any, ...] = (
    {
        "model": {
            "uri": "s3://bucket/telco",
            "digest": PIN,
            "credentialsSecret": "store",
            "maxScoringMillis": 20,
        },
        "decision": {"threshold": 0.4},
        "replicas": 3,
        "rollback": "manual",
        "progressDeadlineSeconds": 90,
        "suspend": False,
        "serving": {
            "image": "registry.example/serving:2",
            "imagePullPolicy": "Always",
            "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": 2}},
            "serviceAccountName": "lent",
            "imagePullSecrets": [{"name": "registry"}],
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [
                {
                    "key": "spot",
                    "operator": "Equal",
                    "value": "yes",
                    "effect": "NoExecute",
                    "tolerationSeconds": 9,
                }
            ],
            "priorityClassName": "high",
            "podLabels": {"team": "growth"},
            "auth": {"apiKeysSecret": "telco-keys"},
            "tls": {"secretName": "telco-tls"},
        },
    },
    {
        "model": {"uri": "oci://registry.example/telco:1", "digest": PIN},
        "autoscaling": {"minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 60},
        "decision": {"capacity": 0.1},
    },
)
SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]}
TARGET = {"type": "AverageValue", "averageUtilization": 5, "averageValue": "10", "value": 7}
NAMED = {"name": "queue", "selector": SELECTOR}
RULES = {
    "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}], "selectPolicy": "Max",
    "stabilizationWindowSeconds": 30, "tolerance": "0.1",
}  # fmt: skip
METRICS = [
    {"type": "Resource", "resource": {"name": "cpu", "target": TARGET}},
    {
        "type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": "server", "target": TARGET},
    },
    {"type": "Pods", "pods": {"metric": NAMED, "target": TARGET}},
    {
        "type": "Object",
        "object": {
            "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "x"},
            "metric": NAMED,
            "target": TARGET,
        },
    },
    {"type": "External", "external": {"metric": NAMED, "target": TARGET}},
]
SCALED = {"maxReplicas": 4, "metrics": METRICS, "behavior": {"scaleUp": RULES, "scaleDown": RULES}}
COSTS = {"costs": {"contact": 5, "value": 300, "success": 0.25}}
JWT = {"issuer": "https://issuer.example/", "audience": "churn", "scope": "predict"}
TOKENS: Any = [{"auth": {"jwt": JWT | {where: "issuer-keys"}}} for where in ("jwksSecret", "jwksConfigMap")]
NAMED_PLACES = {"allowedHosts": ["*.churn.example"], "corsOrigins": ["https://crm.example"]}
ROWS = (
    *SPECS,
    SPECS[1] | {"autoscaling": SCALED, "decision": COSTS, "serving": TOKENS[0]},
    SPECS[1] | {"serving": TOKENS[1] | NAMED_PLACES | {"grpc": True}},
)
"""Specs that together set every field. A new field belongs into one of them."""
FIELDS = dict(nodes())


@pytest.mark.parametrize("path", sorted(FIELDS), ids=".".join)
def test_each_field_goes_from_valid_to_invalid_and_back_while_the_old_revision_serves(path: Any):
    found = next(((row, place) for row in ROWS for place in places(row, path)), None)
    assert found, f"no row of this table sets spec.{'.'.join(path)}"
    row, place = found
    valid = world_of(row).serving(4)
    broken = replace(valid, spec=replaced(row, place, wrong_value(FIELDS[path])), generation=2).told()
    assert ".".join(("spec", *map(str, place))) in broken.condition("Stalled")["message"]
    assert broken.says("Available")[0] == "True"
    assert broken.status["servedRevision"] == valid.status["servedRevision"]
    mended = replace(broken, spec=row, generation=3).told()
    assert mended.says("Ready")[0] == "True"
    assert mended.desired.children == valid.desired.children
