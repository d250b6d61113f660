from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from churn_operator.api.conditions import Reason
from churn_operator.kinds import AUTOSCALER
from churn_operator.observe import Failure
from churn_operator.ready import Trouble

AUTOSCALING = {"minReplicas": 2, "maxReplicas": 9, "targetCPUUtilizationPercentage": 50}
ROLLING = {"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}


@pytest.fixture
def rolling(world: Any):
    """A new image on the way: one pod of it beside two that serve."""
    changed = world.serving().asking(serving={"image": "new"})
    return replace(changed.applied(), pods=changed.pods).deployment_says(**ROLLING)


class TestReady:
    def test_is_false_until_all_replicas_of_the_first_revision_are_available(self, world: Any):
        started = world.applied().deployment_says(replicas=2, updatedReplicas=2, availableReplicas=1).told()
        assert started.says("Ready") == ("False", "RollingOut")
        assert started.says("Reconciling") == ("True", "RollingOut")
        assert started.says("Available") == ("True", "Serving")

    def test_is_true_once_they_are(self, world: Any):
        assert world.serving().says("Ready") == ("True", "Ready")
        assert world.serving().says("Reconciling") == world.serving().says("Stalled") == ("absent", "")

    def test_is_not_believed_of_a_deployment_that_nobody_looked_at(self, world: Any):
        written = world.serving()
        fresh = replace(written, status={}).deployment_says(
            observedGeneration=0, replicas=2, updatedReplicas=2, availableReplicas=2
        )
        assert fresh.told().says("Ready") == ("False", "RollingOut")

    def test_is_false_during_a_rollout_while_the_old_revision_serves(self, rolling: Any):
        told = rolling.with_pod(ready=False).told()
        assert told.says("Ready") == ("False", "RollingOut")
        assert told.says("Available") == ("True", "Serving")
        assert told.status["servedRevision"] != told.status["revision"]

    def test_survives_scaling_up(self, world: Any):
        scaled = world.serving(2).asking(replicas=4)
        unseen = replace(scaled.applied(), pods=scaled.pods).deployment_says(
            observedGeneration=0, replicas=2, updatedReplicas=2, availableReplicas=2
        )
        assert unseen.told().says("Ready") == ("True", "Ready")
        creating = unseen.deployment_says(replicas=2, updatedReplicas=2, availableReplicas=2)
        assert creating.told().says("Ready") == ("True", "Ready")
        starting = (
            unseen.with_pod().with_pod().deployment_says(replicas=4, updatedReplicas=4, availableReplicas=2)
        )
        assert starting.told().says("Ready") == ("True", "Ready")

    def test_does_not_survive_a_replica_that_never_starts(self, world: Any):
        scaled = world.serving(2).asking(replicas=3)
        late = replace(scaled.applied(), pods=scaled.pods).with_pod(age_seconds=61)
        late = late.deployment_says(replicas=3, updatedReplicas=3, availableReplicas=2)
        assert late.told().says("Ready") == ("False", "ReplicasUnavailable")

    def test_is_looked_at_again_when_a_starting_replica_would_be_late(self, world: Any):
        scaled = world.serving(2).asking(replicas=3)
        young = replace(scaled.applied(), pods=scaled.pods).with_pod(age_seconds=20)
        young = young.deployment_says(replicas=3, updatedReplicas=3, availableReplicas=2)
        assert young.report().recheck_after == pytest.approx(41)

    def test_is_lost_with_all_replicas(self, world: Any):
        gone = replace(world.serving(), pods=()).deployment_says(replicas=2, updatedReplicas=2).told()
        assert gone.says("Ready") == ("False", "ReplicasUnavailable")
        assert gone.says("Available") == ("False", "NoReplica")

    def test_needs_only_the_autoscalers_minimum(self, world: Any):
        scaled = world.asking(autoscaling=AUTOSCALING).serving(2)
        more = scaled.with_pod(failure=Failure("OOMKilled", "x"), age_seconds=90).deployment_says(
            replicas=3, updatedReplicas=3, availableReplicas=2
        )
        assert more.told().says("Ready") == ("True", "Ready")

    @pytest.mark.parametrize(
        ("change", "reason"), [({"suspend": True}, "Suspended"), ({"replicas": 0}, "ScaledToZero")]
    )
    def test_is_false_and_settled_where_no_replica_is_asked_for(self, world: Any, change: Any, reason: str):
        idle = world.serving().asking(**change)
        idle = replace(idle.applied(), pods=()).deployment_says(replicas=0).told()
        assert idle.says("Ready") == idle.says("Available") == ("False", reason)
        assert idle.says("Reconciling") == idle.says("Stalled") == ("absent", "")


class TestFailures:
    def test_of_the_bundle_stall_at_once_and_leave_the_old_one_serving(self, rolling: Any):
        told = rolling.with_pod(failure=Failure("DigestMismatch", "sha256:b is not sha256:a")).told()
        for kind in ("Ready", "ModelLoaded"):
            assert told.says(kind) == ("False", "DigestMismatch")
            assert told.condition(kind)["message"] == "sha256:b is not sha256:a"
        assert told.says("Stalled") == ("True", "DigestMismatch")
        assert told.says("Available") == ("True", "Serving")

    @pytest.mark.parametrize("reason", ["FetchFailed", "ImagePullFailed", "OOMKilled", "Unschedulable"])
    def test_that_may_pass_are_tried_until_the_deadline(self, rolling: Any, reason: str):
        failing = rolling.with_pod(failure=Failure(reason, "x"))
        assert failing.told().says("Reconciling") == ("True", reason)
        late = rolling.asking(rollback="manual").with_pod(failure=Failure(reason, "x"), age_seconds=700)
        given_up = late.deployment_says(
            **ROLLING,
            conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
        )
        assert given_up.told().says("Stalled") == ("True", reason)

    def test_of_the_old_revisions_pods_are_not_the_new_ones(self, rolling: Any):
        old = rolling.status["revision"]
        assert rolling.with_pod(revision=old, failure=Failure("OOMKilled", "x")).told().says("Ready") == (
            "False",
            "RollingOut",
        )

    def test_without_any_word_end_at_the_deadline(self, rolling: Any):
        silent = (
            rolling.asking(rollback="manual")
            .with_pod(age_seconds=700)
            .deployment_says(
                **ROLLING,
                conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
            )
        )
        assert silent.told().says("Stalled") == ("True", "ProgressDeadlineExceeded")

    def test_to_make_pods_are_told(self, world: Any):
        refused = world.applied().deployment_says(
            conditions=[{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]
        )
        told = refused.told()
        assert told.says("Ready") == ("False", "PodsRefused")
        assert told.condition("Ready")["message"] == "exceeded quota"

    def test_to_apply_are_told_and_what_serves_is_not_denied(self, world: Any):
        told = world.serving().told(Trouble(Reason.APPLY_REFUSED, "forbidden", stalled=False))
        assert told.says("Ready") == ("False", "ApplyRefused")
        assert told.says("Reconciling") == ("True", "ApplyRefused")
        assert told.says("Available") == ("True", "Serving")


class TestInvalidSpec:
    def test_stalls_and_names_the_field(self, world: Any):
        told = world.serving().asking(decision={"threshold": 2}).told()
        assert told.says("Ready") == ("False", "InvalidSpec")
        assert told.says("Stalled") == ("True", "InvalidSpec")
        assert "spec.decision.threshold" in told.condition("Stalled")["message"]

    def test_leaves_what_serves_in_the_status(self, world: Any):
        before = world.serving()
        told = before.asking(decision={"threshold": 2}).told()
        assert told.says("Available") == ("True", "Serving")
        assert told.status["servedRevision"] == before.status["servedRevision"]
        assert told.status["digest"] == before.status["digest"]

    def test_heals_by_itself(self, world: Any):
        healed = world.serving().asking(replicas=-1).told().asking(replicas=2)
        assert healed.told().says("Ready") == ("True", "Ready")
        assert healed.told().says("Stalled") == ("absent", "")


class TestAutoscaling:
    def failing(self, world: Any, now: datetime, seconds: float):
        since = (now - timedelta(seconds=seconds)).isoformat()
        autoscaler = {
            "status": {
                "conditions": [
                    {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric",
                     "message": "no metrics", "lastTransitionTime": since}
                ]
            }
        }  # fmt: skip
        scaled = world.asking(autoscaling=AUTOSCALING).serving()
        return replace(
            scaled, children=scaled.children | {AUTOSCALER: scaled.children[AUTOSCALER] | autoscaler}
        )

    def test_is_only_there_with_autoscaling(self, world: Any):
        assert world.serving().says("AutoscalingActive") == ("absent", "")
        assert world.asking(autoscaling=AUTOSCALING).serving().says("AutoscalingActive")[0] == "True"

    def test_forgives_what_new_pods_cause(self, world: Any, now: datetime):
        young = self.failing(world, now, 30)
        assert young.told().says("AutoscalingActive") == ("True", "AutoscalerActive")
        assert young.report().recheck_after == pytest.approx(91)

    def test_shows_what_lasts_in_the_autoscalers_words(self, world: Any, now: datetime):
        old = self.failing(world, now, 121)
        assert old.told().says("AutoscalingActive") == ("False", "FailedGetResourceMetric")
        assert old.report().recheck_after is None


class TestPaused:
    def test_is_said_once_and_leaves_the_rest_alone(self, world: Any):
        before = world.serving()
        paused = replace(before.asking(replicas=9), annotations={"churnops.io/paused": "true"}).told()
        assert paused.says("Paused") == ("True", "Paused")
        rest = [c for c in paused.status["conditions"] if c["type"] != "Paused"]
        assert rest == before.status["conditions"]
        assert replace(paused, generation=99).report().status == paused.status

    def test_goes_with_the_annotation(self, world: Any):
        paused = replace(world.serving(), annotations={"churnops.io/paused": "true"}).told()
        assert replace(paused, annotations={}).told().says("Paused") == ("absent", "")


def test_times_move_only_with_the_status(world: Any, now: datetime):
    later = world.serving().told(now=now + timedelta(hours=1))
    assert later.condition("Ready")["lastTransitionTime"] == "2026-11-21T12:00:00Z"
    suspended = later.asking(suspend=True).told(now=now + timedelta(hours=2))
    assert suspended.condition("Ready")["lastTransitionTime"] == "2026-11-21T14:00:00Z"


def test_every_condition_speaks_of_the_generation(world: Any):
    told = replace(world.serving(), generation=7).told()
    assert {c["observedGeneration"] for c in told.status["conditions"]} == {7}
    assert told.status["observedGeneration"] == 7


def test_the_digest_is_of_what_answers(world: Any):
    before = world.serving()
    other = {"uri": "oci://registry.example/telco:2", "digest": "sha256:" + "b" * 64}
    changed = before.asking(model=other)
    rolling = replace(changed.applied(), pods=changed.pods).deployment_says(**ROLLING).told()
    assert (rolling.status["digest"], rolling.status["model"]) == ("sha256:" + "a" * 64, "a" * 12)
    done = changed.serving()
    assert (done.status["digest"], done.status["model"]) == ("sha256:" + "b" * 64, "b" * 12)


def test_the_scale_subresource_is_served(world: Any):
    assert world.serving(2).status["replicas"] == 2
    assert world.serving(2).status["selector"] == "churnops.io/model=telco"
