from dataclasses import replace
from typing import Any, ClassVar

import pytest

from churn_operator.api.conditions import Reason
from churn_operator.kinds import SERVICE
from churn_operator.settings import Settings

PIN = "sha256:" + "a" * 64
INVALID = {
    "an unknown scheme": ({"model": {"uri": "ftp://a/b", "digest": PIN}}, "spec.model.uri: uri must be"),
    "no digest": ({"model": {"uri": "s3://bucket/telco"}}, "spec.model: set digest to the sha256"),
    "a short digest": ({"model": {"uri": "oci://a/b", "digest": "sha256:ab"}}, "digest must be sha256:"),
    "no model": ({"model": None}, "spec.model: Field required"),
    "a threshold of 1": ({"decision": {"threshold": 1}}, "spec.decision.threshold: threshold must"),
    "no way to decide": ({"decision": {}}, "spec.decision: set exactly one of threshold, capacity and costs"),
    "two ways to decide": (
        {"decision": {"threshold": 0.4, "capacity": 0.1}},
        "spec.decision: set exactly one of threshold, capacity and costs",
    ),
    "a contact that nobody is worth": (
        {"decision": {"costs": {"contact": 50, "value": 100, "success": 0.5}}},
        "spec.decision.costs: contact must be below success x value",
    ),
    "negative replicas": ({"replicas": -1}, "spec.replicas: Input should be greater than or equal to 0"),
    "min above max": (
        {"autoscaling": {"minReplicas": 3, "maxReplicas": 2, "targetCPUUtilizationPercentage": 1}},
        "spec.autoscaling: minReplicas 3 is above maxReplicas 2",
    ),
    "two targets": ({"autoscaling": {"maxReplicas": 2}}, "spec.autoscaling: set exactly one of"),
    "a request above its limit": (
        {"serving": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1500Mi"}}}},
        "spec.serving.resources: the memory request 2Gi is above its limit 1500Mi",
    ),
    "a reserved label": (
        {"serving": {"podLabels": {"churnops.io/model": "x"}}},
        "spec.serving.podLabels: podLabels must not set",
    ),
    "a key that is no label key": (
        {"serving": {"nodeSelector": {"a b": "c"}}},
        "spec.serving.nodeSelector: 'a b' is no [prefix/]name",
    ),
    "a resource of no name": (
        {"serving": {"resources": {"limits": {"": 1}}}},
        "spec.serving.resources.limits: '' is no [prefix/]name",
    ),
    "a secret for a claim": (
        {"model": {"uri": "pvc://claim", "digest": PIN, "credentialsSecret": "store"}},
        "spec.model: credentialsSecret has no meaning for pvc",
    ),
    "a lonely metric": (
        {"autoscaling": {"maxReplicas": 3, "metrics": [{"type": "Pods"}]}},
        "spec.autoscaling.metrics.0: type is Pods",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INVALID)
def test_an_invalid_spec_names_its_field(world: Any, case: str):
    change, words = INVALID[case]
    halt = world.asking(**change).halt
    assert halt.reason is Reason.INVALID_SPEC
    assert words in halt.message
    assert halt.plan is None


def test_all_wrong_fields_are_named_at_once(world: Any):
    message = world.asking(replicas=-1, decision={"threshold": 0}).halt.message
    assert "spec.replicas" in message
    assert "spec.decision.threshold" in message


def test_fields_of_a_newer_crd_are_no_error(world: Any):
    assert world.asking(novelty=True).plan == world.plan


def test_paused_comes_before_everything(world: Any):
    paused = replace(world.asking(replicas=-1), annotations={"churnops.io/paused": "true"})
    assert paused.halt.reason is Reason.PAUSED


def test_a_foreign_object_of_a_childs_name_stops_all(world: Any):
    foreign = world.applied().children[SERVICE]
    foreign = foreign | {"metadata": foreign["metadata"] | {"ownerReferences": []}}
    halt = replace(world, children={SERVICE: foreign}).halt
    assert halt.reason is Reason.NAME_CONFLICT
    assert "Service telco exists and belongs to someone else" in halt.message
    assert halt.stalled


def test_a_leftover_of_an_earlier_churnmodel_is_waited_for(world: Any):
    leftover = world.applied().children[SERVICE]
    leftover["metadata"]["ownerReferences"][0]["uid"] = "another"
    halt = replace(world, children={SERVICE: leftover}).halt
    assert halt.reason is Reason.WAITING_FOR_REMOVAL
    assert not halt.stalled


def test_an_identity_must_be_lent(world: Any):
    asking = world.asking(serving={"serviceAccountName": "powerful"})
    assert "does not exist" in asking.halt.message
    plain = replace(asking, service_account={"metadata": {"name": "powerful"}})
    assert 'does not carry the label churnops.io/serving: "true"' in plain.halt.message
    lent = {"metadata": {"name": "powerful", "labels": {"churnops.io/serving": "true"}}}
    assert replace(asking, service_account=lent).plan.spec.serving.service_account_name == "powerful"


class TestImage:
    """Where the platform says where images come from."""

    PREFIXES = ("registry.example", "docker.io/team/", "docker.io/churnops/churn-serving:9")

    @pytest.mark.parametrize(
        "image",
        [
            "registry.example/any/serving:1",
            "registry.example:5000/serving",
            "docker.io/team/serving@sha256:" + "0" * 64,
            "docker.io/churnops/churn-serving:9",
            "docker.io/churnops/churn-serving:9@sha256:" + "0" * 64,
            Settings().serving_image,
            None,
        ],
    )
    def test_of_an_allowed_place_is_served(self, world: Any, image: str | None):
        limited = replace(world, settings=Settings(serving_image_prefixes=self.PREFIXES))
        assert limited.asking(serving={"image": image} if image else {}).plan

    @pytest.mark.parametrize(
        "image",
        [
            "registry.example.org/serving",
            "docker.io/team",
            "docker.io/teams/serving",
            "docker.io/churnops/churn-serving:99",
            "churn-serving",
        ],
    )
    def test_of_another_stalls_and_names_the_field(self, world: Any, image: str):
        limited = replace(world, settings=Settings(serving_image_prefixes=self.PREFIXES))
        halt = limited.asking(serving={"image": image}).halt
        assert halt.reason is Reason.IMAGE_NOT_ALLOWED
        assert halt.message.startswith(f"spec.serving.image: {image} is not from where the platform allows: ")
        assert halt.stalled

    def test_may_be_any_without_a_list(self, world: Any):
        assert world.asking(serving={"image": "anywhere.example/serving"}).plan


class TestReplicas:
    AUTOSCALING: ClassVar = {"minReplicas": 3, "maxReplicas": 9, "targetCPUUtilizationPercentage": 50}

    def test_are_the_specs_without_autoscaler(self, world: Any):
        plan = world.plan
        assert (plan.replicas, plan.needed, plan.most) == (2, 2, 2)

    def test_are_the_autoscalers_with_one(self, world: Any):
        plan = world.asking(autoscaling=self.AUTOSCALING).plan
        assert (plan.replicas, plan.needed, plan.most) == (None, 3, 9)

    def test_are_none_while_suspended(self, world: Any):
        plan = world.asking(autoscaling=self.AUTOSCALING, suspend=True).plan
        assert (plan.replicas, plan.needed, plan.autoscaled) == (0, 0, False)


class TestRevision:
    def test_is_the_same_for_the_same_spec(self, world: Any):
        assert world.plan.revision.hash == world.asking(replicas=7).plan.revision.hash

    @pytest.mark.parametrize(
        "change",
        [
            {"model": {"uri": "oci://registry.example/telco:2", "digest": "sha256:" + "a" * 64}},
            {"serving": {"image": "registry.example/serving:2"}},
            {"serving": {"nodeSelector": {"disk": "ssd"}}},
            {"serving": {"resources": {"limits": {"cpu": 1}}}},
        ],
    )
    def test_changes_with_what_rolls_the_pods(self, world: Any, change: Any):
        assert world.plan.revision.hash != world.asking(**change).plan.revision.hash

    def test_does_not_change_with_what_needs_no_restart(self, world: Any):
        changed = world.asking(decision={"threshold": 0.9}, suspend=True, replicas=1)
        assert changed.plan.revision.hash == world.plan.revision.hash

    def test_an_image_by_digest_is_its_own_pin(self, world: Any):
        pinned = world.asking(model={"uri": "oci://registry.example/telco@sha256:" + "b" * 64})
        assert pinned.plan.revision.digest == "sha256:" + "b" * 64
