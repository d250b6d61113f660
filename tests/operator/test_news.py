from dataclasses import replace
from datetime import datetime
from typing import Any

from churn_operator.events import build_event, transition
from churn_operator.news import Urgency, urgency
from churn_operator.observe import Failure


def test_the_same_again_is_none(world: Any, now: datetime):
    told = world.serving()
    assert urgency(told.status, told.report(now=now.replace(hour=23)).status) is Urgency.NONE


def test_counts_alone_may_wait(world: Any):
    told = world.serving()
    assert urgency(told.status, told.status | {"replicas": 7}) is Urgency.QUIET


def test_the_first_replica_that_answers_may_wait_for_the_others(world: Any):
    started = world.applied().deployment_says(replicas=2, updatedReplicas=2).told()
    first = started.with_pod(ready=True).deployment_says(replicas=2, updatedReplicas=2, availableReplicas=1)
    assert urgency(started.status, first.report().status) is Urgency.QUIET


def test_a_new_generation_is_news(world: Any):
    told = world.serving()
    assert urgency(told.status, replace(told, generation=9).report().status) is Urgency.NEWS


def test_ready_is_news(world: Any):
    started = world.applied().deployment_says(replicas=2, updatedReplicas=2).told()
    assert urgency(started.status, world.serving().status) is Urgency.NEWS


def test_a_failure_is_news(world: Any):
    started = world.applied().deployment_says(replicas=2, updatedReplicas=2).told()
    failed = started.with_pod(failure=Failure("OnnxInvalid", "x")).report().status
    assert urgency(started.status, failed) is Urgency.NEWS


class TestEvents:
    def test_tell_of_a_change_of_ready(self, world: Any):
        started = world.applied().told()
        assert transition({}, started.status) == ("RollingOut", started.condition("Ready")["message"])
        assert transition(started.status, world.serving().status)[0] == "Ready"

    def test_tell_nothing_of_the_rest(self, world: Any):
        told = world.serving()
        assert transition(told.status, replace(told, generation=9).told().status) is None

    def test_warn_of_what_is_wrong_only(self, world: Any, now: datetime):
        kinds = {
            reason: build_event(world.observed, reason, "x", "here", now)["type"]
            for reason in ("Ready", "RollingOut", "Suspended", "NameConflict", "GoldenMismatch")
        }
        assert kinds == {
            "Ready": "Normal", "RollingOut": "Normal", "Suspended": "Normal",
            "NameConflict": "Warning", "GoldenMismatch": "Warning",
        }  # fmt: skip

    def test_hold_no_more_than_the_api_takes(self, world: Any, now: datetime):
        event = build_event(world.observed, "Ready", "x" * 5000, "h" * 500, now)
        assert (len(event["note"]), len(event["reportingInstance"])) == (1024, 128)
