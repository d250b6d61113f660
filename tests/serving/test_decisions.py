"""Decisions: which threshold a capacity or costs amount to."""

import json
from pathlib import Path
from typing import Any

import pytest

from churn_serving.bundle.schema import NumericReference
from churn_serving.decisions import Costs, Decision, threshold_of
from churn_serving.errors import ConfigInvalidError
from churn_serving.model import Model
from churn_serving.routing import build_table, read_serving_file

SCORES = NumericReference(edges=[0.25, 0.5, 0.75], counts=[40, 30, 20, 10], missing=0)


def read(tmp_path: Path, decision: Any) -> Any:
    path = tmp_path / "serving.json"
    path.write_text(json.dumps({"model": "m", "revisions": {"a": {"decision": decision}}}))
    return read_serving_file(path)


@pytest.mark.parametrize(
    ("capacity", "threshold"),
    [(0.1, 0.75), (0.05, 0.875), (0.3, 0.5), (0.2, 0.625), (0.6, 0.25), (0.8, 0.125)],
)
def test_a_capacity_is_the_score_above_which_that_share_lies(capacity: float, threshold: float):
    assert threshold_of(Decision(capacity=capacity), SCORES) == pytest.approx(threshold)


def test_an_empty_bin_at_the_top_holds_no_threshold():
    scores = NumericReference(edges=[0.5, 0.9], counts=[50, 50, 0], missing=0)
    assert threshold_of(Decision(capacity=0.25), scores) == pytest.approx(0.7)


def test_costs_are_even_at_the_threshold():
    assert threshold_of(Decision(costs=Costs(contact=5, value=100)), SCORES) == 0.05
    assert threshold_of(Decision(costs=Costs(contact=5, value=100, success=0.2)), SCORES) == 0.25


def test_a_capacity_of_the_samples_holdout_takes_about_that_share(telco_model: Model, tmp_path: Path):
    table = build_table(None, read(tmp_path, {"capacity": 0.1}), {"a": telco_model})
    score = telco_model.reference.score
    threshold = table.routes[0].threshold
    above = sum(n for n, low in zip(score.counts, [0, *score.edges], strict=True) if low >= threshold)
    touching = sum(n for n, high in zip(score.counts, [*score.edges, 1], strict=True) if high > threshold)
    assert above <= 0.1 * sum(score.counts) <= touching


def test_without_scores_a_capacity_cannot_be_computed():
    with pytest.raises(ConfigInvalidError, match="holds no scores"):
        threshold_of(Decision(capacity=0.1), NumericReference(edges=[0.5], counts=[0, 0], missing=0))


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        ({}, "one of threshold, capacity and costs; this has none of them"),
        ({"threshold": 0.5, "capacity": 0.1}, "this has threshold and capacity"),
        ({"capacity": 0}, "capacity"),
        ({"capacity": 1}, "capacity"),
        ({"capacity": "10%"}, "capacity"),
        ({"costs": {"contact": 5}}, "value"),
        ({"costs": {"contact": -5, "value": 10}}, "contact"),
        ({"costs": {"contact": 5, "value": 10, "succes": 0.5}}, "succes"),
        (
            {"costs": {"contact": 5, "value": 10, "success": 0.5}},
            "contact 5 must be below success x value, 5",
        ),
    ],
)
def test_a_decision_that_cannot_be_is_refused_by_name(tmp_path: Path, decision: Any, told: str):
    with pytest.raises(ConfigInvalidError, match=told):
        read(tmp_path, decision)
