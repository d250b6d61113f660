"""A revision that failed gives way to the one that answers, and stays away until the spec changes."""

import json
from dataclasses import replace
from typing import Any

import pytest

from churn_operator.kinds import CONFIG_MAP, CONTROLLER_REVISION, DEPLOYMENT
from churn_operator.observe import Failure
from churn_operator.settings import Settings

BAD = {"image": "bad"}
TIMED_OUT = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
ROLLING = {"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 9, "targetCPUUtilizationPercentage": 50}


def rolling_to(world: Any, **spec: Any) -> Any:
    """The author asks for more; one pod of it stands beside those that serve."""
    changed = world.asking(**spec)
    return replace(changed.applied(), pods=changed.pods)


def failing(world: Any, *, age_seconds: float = 700, **spec: Any) -> Any:
    """The new revision's pod fails, and the Deployment's controller gave it up."""
    failed = rolling_to(world, **spec).with_pod(failure=Failure("OOMKilled", "x"), age_seconds=age_seconds)
    return failed.deployment_says(**ROLLING, conditions=[TIMED_OUT])


def rolled_back(world: Any) -> Any:
    """The rollback is carried out, and the failed pod is gone."""
    back = world.applied()
    answering = tuple(pod for pod in back.pods if pod.ready)
    done = replace(back, pods=answering).deployment_says(replicas=2, updatedReplicas=2, availableReplicas=2)
    return done.told()


@pytest.fixture
def good(world: Any) -> Any:
    return world.serving()


def revision_in(world: Any) -> str:
    """The revision that the Deployment is to make pods of."""
    template = world.desired.children[DEPLOYMENT]["spec"]["template"]
    return str(template["metadata"]["labels"]["churnops.io/revision"])


class TestGivingUp:
    def test_goes_back_to_what_answers(self, good: Any):
        assert revision_in(failing(good, serving=BAD)) == good.plan.revision.hash

    def test_makes_the_very_pods_that_answer(self, good: Any):
        back = failing(good, serving=BAD)
        assert back.desired.children[DEPLOYMENT] == good.desired.children[DEPLOYMENT]

    def test_makes_them_even_where_their_threshold_changed_since(self, good: Any):
        changed = good.asking(decision={"threshold": 0.9})
        changed = replace(changed.applied(), pods=good.pods)
        back = failing(changed, serving=BAD)
        assert back.desired.children[DEPLOYMENT] == changed.desired.children[DEPLOYMENT]

    def test_never_goes_back_to_an_image_that_is_allowed_no_more(self, world: Any):
        before = world.asking(serving={"image": "elsewhere.example/serving"}).serving()
        failed = failing(before, serving={"image": "registry.example/bad"})
        assert revision_in(failed) == before.plan.revision.hash
        limited = replace(failed, settings=Settings(serving_image_prefixes=("registry.example",)))
        assert revision_in(limited) != before.plan.revision.hash

    def test_leaves_what_answers_its_decision(self, good: Any):
        back = failing(good, serving=BAD, decision={"threshold": 0.9})
        entries = json.loads(back.desired.children[CONFIG_MAP]["data"]["serving.json"])["revisions"]
        assert entries[good.plan.revision.hash]["decision"] == {"threshold": 0.4}

    def test_leaves_it_its_last_decision_even_if_the_settings_are_lost(self, good: Any):
        changed = good.asking(decision={"threshold": 0.6})
        changed = replace(changed.applied(), pods=good.pods)
        back = rolled_back(failing(changed, serving=BAD, decision={"threshold": 0.9}))
        children = {kind: child for kind, child in back.children.items() if kind is not CONFIG_MAP}
        lost = replace(back, children=children)
        entries = json.loads(lost.desired.children[CONFIG_MAP]["data"]["serving.json"])["revisions"]
        assert entries[good.plan.revision.hash]["decision"] == {"threshold": 0.6}

    def test_is_told_with_its_cause(self, good: Any):
        told = failing(good, serving=BAD).told()
        assert told.says("Ready") == ("False", "RolledBack")
        assert told.says("Stalled") == ("True", "RolledBack")
        assert told.says("Available") == ("True", "Serving")
        assert told.says("ModelLoaded") == ("False", "OOMKilled")
        assert "OOMKilled: x" in told.condition("Ready")["message"]

    def test_tells_what_is_asked_for_and_what_serves(self, good: Any):
        bad = failing(good, serving=BAD)
        told = rolled_back(bad)
        assert told.status["revision"] == bad.plan.asked != good.plan.revision.hash
        assert told.status["servedRevision"] == good.plan.revision.hash

    def test_waits_for_the_deadline(self, good: Any):
        young = rolling_to(good, serving=BAD).with_pod(failure=Failure("OOMKilled", "x"), age_seconds=500)
        assert young.deployment_says(**ROLLING).plan.in_place_of is None
        assert young.deployment_says(**ROLLING).report().recheck_after == pytest.approx(101)

    def test_is_not_put_off_by_replicas_that_look_ready_before_they_fail(self, good: Any):
        """To the Deployment's controller each moment of readiness is progress."""
        bad = rolling_to(good, serving=BAD)
        flapping = bad.with_pod(failure=Failure("OOMKilled", "x"), age_seconds=700).deployment_says(**ROLLING)
        assert revision_in(flapping) == good.plan.revision.hash
        looks_ready = bad.with_pod(ready=True, age_seconds=700).deployment_says(**ROLLING)
        assert looks_ready.plan.in_place_of is None

    def test_spares_a_rollout_in_which_one_replica_of_several_fails(self, good: Any):
        large = rolling_to(good, serving=BAD).with_pod(ready=True, age_seconds=900)
        large = large.with_pod(failure=Failure("OOMKilled", "x"), age_seconds=700)
        assert (
            large.deployment_says(replicas=4, updatedReplicas=2, availableReplicas=3).plan.in_place_of is None
        )

    def test_spares_what_was_rolled_out_and_fails_later(self, world: Any):
        failing_now = world.applied().with_pod(failure=Failure("OOMKilled", "x"), age_seconds=9000)
        failing_now = failing_now.with_pod(ready=True, revision="0123456789", age_seconds=9000)
        rolled_out = failing_now.deployment_says(replicas=1, updatedReplicas=1)
        assert rolled_out.plan.in_place_of is None

    def test_waits_where_the_deadline_was_that_of_the_revision_before(self, good: Any):
        young = failing(good, serving=BAD, age_seconds=20)
        assert young.plan.in_place_of is None
        assert young.told().says("Stalled") == ("absent", "")
        assert young.report().recheck_after == pytest.approx(581)

    def test_happens_where_no_pod_says_why(self, good: Any):
        silent = rolling_to(good, serving=BAD).with_pod(age_seconds=700)
        silent = silent.deployment_says(**ROLLING, conditions=[TIMED_OUT])
        assert silent.plan.in_place_of.reason == "ProgressDeadlineExceeded"

    def test_happens_by_the_deadline_of_the_spec(self, good: Any):
        patient = failing(good, serving=BAD, progressDeadlineSeconds=900)
        assert patient.desired.children[DEPLOYMENT]["spec"]["progressDeadlineSeconds"] == 900
        assert patient.plan.in_place_of is None

    def test_does_not_happen_where_nothing_else_answers(self, world: Any):
        first = world.applied().with_pod(failure=Failure("OOMKilled", "x"), age_seconds=700)
        first = first.deployment_says(replicas=1, updatedReplicas=1, conditions=[TIMED_OUT])
        assert first.plan.in_place_of is None
        assert first.told().says("Stalled") == ("True", "OOMKilled")

    def test_does_not_happen_by_hand_only(self, good: Any):
        manual = failing(good, serving=BAD, rollback="manual")
        assert manual.plan.in_place_of is None
        assert manual.told().says("Stalled") == ("True", "OOMKilled")
        assert manual.told().says("Available") == ("True", "Serving")

    def test_does_not_happen_to_what_has_been_suspended(self, good: Any):
        assert failing(good, serving=BAD).asking(suspend=True).plan.in_place_of is None

    def test_takes_the_newest_of_those_that_answer(self, good: Any):
        second = rolling_to(good, serving={"image": "second"}).with_pod(ready=True, age_seconds=600)
        assert revision_in(failing(second, serving=BAD)) == second.plan.revision.hash

    def test_lends_no_account_that_was_not_looked_at(self, world: Any):
        lent = {"metadata": {"name": "lent", "labels": {"churnops.io/serving": "true"}}}
        before = replace(world, service_account=lent).asking(serving={"serviceAccountName": "lent"}).serving()
        assert failing(replace(before, service_account=None), serving=BAD).plan.in_place_of is None
        kept = failing(before, serving=BAD | {"serviceAccountName": "lent"})
        assert revision_in(kept) == before.plan.revision.hash

    @pytest.mark.parametrize(
        "data", [None, {}, {"image": "evil"}, {"model": {"uri": "x"}, "image": "evil", "serving": {}}]
    )
    def test_takes_no_record_that_is_not_what_its_label_says(self, good: Any, data: Any):
        (record,) = good.revisions
        forged = replace(good, revisions=(record | {"data": data},))
        assert failing(forged, serving=BAD).plan.in_place_of is None


class TestHolding:
    def test_outlasts_the_failed_pods_and_the_operator(self, good: Any):
        held = replace(rolled_back(failing(good, serving=BAD)), status={})
        assert held.told().says("Ready") == ("False", "RolledBack")
        assert revision_in(held) == good.plan.revision.hash

    def test_is_settled(self, good: Any):
        held = rolled_back(failing(good, serving=BAD)).applied()
        again = held.applied()
        assert again.children == held.children
        assert again.revisions == held.revisions
        assert held.told().status == held.status

    def test_is_marked_before_the_deployment_is_written(self, good: Any):
        bad = failing(good, serving=BAD)
        record = bad.applied().revisions
        crashed = replace(bad, revisions=record).deployment_says(**ROLLING)  # it even answered in between
        assert revision_in(crashed) == good.plan.revision.hash

    @pytest.mark.parametrize(
        "change",
        [
            {"replicas": 5},
            {"autoscaling": AUTOSCALING},
            {"decision": {"threshold": 0.2}},
            {"progressDeadlineSeconds": 30},
        ],
        ids=str,
    )
    def test_outlasts_what_no_revision_is_made_of(self, good: Any, change: Any):
        held = rolled_back(failing(good, serving=BAD)).asking(**change)
        assert revision_in(held) == good.plan.revision.hash
        assert held.plan.autoscaled == ("autoscaling" in change)
        assert held.plan.spec.replicas == change.get("replicas", 2)

    def test_outlasts_a_suspension(self, good: Any):
        held = rolled_back(failing(good, serving=BAD)).asking(suspend=True)
        assert held.plan.replicas == 0
        assert held.told().says("Ready") == ("False", "Suspended")
        assert revision_in(replace(held, pods=()).asking(suspend=False)) == good.plan.revision.hash

    def test_ends_with_the_good_revision_and_the_bad_one_may_be_tried_again(self, good: Any):
        held = rolled_back(failing(good, serving=BAD))
        mended = replace(held.asking(serving=None).applied(), pods=held.pods)
        assert mended.told().says("Ready") == ("True", "Ready")
        assert mended.asking(serving=BAD).plan.in_place_of is None

    def test_ends_with_a_third_revision_which_may_fail_too(self, good: Any):
        held = rolled_back(failing(good, serving=BAD))
        third = rolling_to(held, serving={"image": "worse"})
        assert third.plan.in_place_of is None
        back = failing(held, serving={"image": "worse"})
        assert back.plan.in_place_of.revision == third.plan.revision.hash
        assert revision_in(back) == good.plan.revision.hash
        assert rolled_back(back).asking(serving=BAD).plan.in_place_of is None

    def test_ends_by_hand(self, good: Any):
        held = rolled_back(failing(good, serving=BAD))
        again = held.asking(rollback="manual")
        assert again.plan.revision.hash == held.plan.asked

    def test_keeps_the_record_of_the_failed_revision(self, good: Any):
        held = rolled_back(failing(good, serving=BAD))
        assert held.desired.wants(CONTROLLER_REVISION, f"telco-{held.plan.asked}")

    @pytest.mark.parametrize(
        "said",
        [
            "", "no JSON", "[]", "{}", '{"revision": 1, "reason": "X", "message": ""}',
            '{"revision": "a", "reason": "", "message": ""}',
            '{"revision": "a", "reason": "X", "message": []}',
        ],
    )  # fmt: skip
    def test_is_not_deceived_by_an_annotation_of_somebody_else(self, good: Any, said: str):
        held = rolled_back(failing(good, serving=BAD))
        newest = max(held.revisions, key=lambda record: record["revision"])
        newest["metadata"]["annotations"]["churnops.io/in-place-of"] = said
        assert held.plan.in_place_of is None
