"""What people read, and what they may hand in."""

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from churn_kubectl.errors import ChurnError
from churn_kubectl.mends import MENDS
from churn_kubectl.overview import Seen, build_tree
from churn_kubectl.predict import read_records
from churn_operator.api.conditions import Reason
from churn_operator.events import CALM
from churn_operator.observe import Failure, Pod

FINE = CALM | {
    Reason.SERVING, Reason.NO_REPLICA, Reason.LOADED, Reason.LOADING, Reason.AUTOSCALER_ACTIVE,
}  # fmt: skip


def test_every_reason_that_is_trouble_has_its_mend():
    assert {reason for reason in Reason if reason not in FINE} - MENDS.keys() == set()


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', '[{"a": 1}]', '{"records": [{"a": 1}]}', '{"a": 1}\n', '\n{"a":\n1}'],
)
def test_customers_come_in_every_usual_shape(text: str):
    assert read_records(text) == [{"a": 1}]


def test_customers_may_come_one_a_line():
    assert read_records('{"a": 1}\n\n{"a": 2}\n') == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", ["", "[]", "[1]", "a,b\n1,2", '{"a": 1} {', "3"])
def test_anything_else_is_refused_with_the_shapes_there_are(text: str):
    with pytest.raises(ChurnError, match="an object a line"):
        read_records(text)


def told(reason: str, *pods: Pod, **more: Any) -> str:
    """The tree of a ChurnModel that is not Ready, as text."""
    ready = {
        "type": "Ready", "status": "False", "reason": reason, "message": "so it is", "observedGeneration": 1,
    }  # fmt: skip
    model = {
        "metadata": {"name": "telco", "namespace": "shop", "generation": more.get("generation", 1)},
        "spec": {"model": {"uri": "oci://registry.example/telco:1"}},
        "status": {"conditions": [ready], "url": "http://telco.shop.svc"},
    }
    seen = Seen(model, (), pods, None, (), datetime(2026, 11, 21, 12, 0, tzinfo=UTC))
    console = Console(width=200)
    with console.capture() as captured:
        console.print(build_tree(seen))
    return captured.get()


def pod(name: str, **state: Any) -> Pod:
    fixed = {"ready": False, "deleting": False, "failure": None} | state
    return Pod(name, name, "a", "2026-11-21T11:00:00Z", None, **fixed)


def test_the_tree_says_why_and_what_mends_it():
    text = told("OOMKilled")
    assert "telco in shop: not Ready (OOMKilled)" in text
    assert "because: so it is" in text
    assert f"mend: {MENDS['OOMKilled']}" in text


def test_the_tree_says_of_each_replica_what_it_does():
    failed = pod("telco-b", failure=Failure("TooSlow", "9 ms"))
    text = told("TooSlow", pod("telco-a", ready=True), failed, pod("telco-c"), pod("telco-d", deleting=True))
    for line in (
        "telco-a, 60m: ready",
        "telco-b, 60m: TooSlow: 9 ms",
        "c, 60m: starting",
        "d, 60m: stopping",
    ):
        assert line in text
    assert "1 of 4 replicas ready" in text


def test_the_tree_says_when_the_operator_has_not_looked_yet():
    assert "an earlier spec" in told("OOMKilled", generation=2)
