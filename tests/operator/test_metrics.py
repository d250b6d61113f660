"""The metrics that dashboards for controllers ask for, with their types and labels."""

from typing import Any

import pytest

from churn_operator.metrics import REGISTRY
from churn_operator.runtime.queue import WorkQueue

KNOWN = {  # after controller-runtime, client-go
    "controller_runtime_reconcile_total": ("counter", {"controller", "result"}),
    "controller_runtime_reconcile_errors_total": ("counter", {"controller"}),
    "controller_runtime_reconcile_time_seconds": ("histogram", {"controller"}),
    "workqueue_depth": ("gauge", {"name"}),
    "workqueue_adds_total": ("counter", {"name"}),
    "workqueue_retries_total": ("counter", {"name"}),
    "workqueue_queue_duration_seconds": ("histogram", {"name"}),
    "workqueue_work_duration_seconds": ("histogram", {"name"}),
    "rest_client_requests_total": ("counter", {"code", "method"}),
    "leader_election_master_status": ("gauge", {"name"}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_it_is_there_under_the_name_that_people_know(name: str):
    kind, labels = KNOWN[name]
    found: Any = REGISTRY._names_to_collectors[name]
    assert (found._type, set(found._labelnames)) == (kind, labels)


def value(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"name": "churnmodel"}) or 0.0


async def test_the_queue_counts_what_comes_in_and_how_long_it_takes():
    queue: WorkQueue[str] = WorkQueue()
    adds, passes = value("workqueue_adds_total"), value("workqueue_work_duration_seconds_count")
    queue.add("a")
    queue.add("a")  # waits already
    waits = value("workqueue_queue_duration_seconds_count")
    key = await queue.get()
    assert value("workqueue_queue_duration_seconds_count") == waits + 1
    assert value("workqueue_adds_total") == adds + 1
    assert value("workqueue_work_duration_seconds_count") == passes
    queue.done(key)
    assert value("workqueue_work_duration_seconds_count") == passes + 1
