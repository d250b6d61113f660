"""Restarts behind a load balancer, under load, over new connections and kept ones."""

from churn_dev import restarts

from .conftest import SAMPLE


def test_restarts_behind_a_load_balancer_fail_no_request_and_kills_do():
    done = restarts.run(SAMPLE, count=3, drain_seconds=1.5, rate=100)
    assert done.outcomes.failed == 0, done.outcomes.lost
    assert done.outcomes.sent > 100
    assert done.control.failed, "the load sees no lost request"
