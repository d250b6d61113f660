"""What /metrics tells of ChurnModels: each state, by name up to a number."""

from typing import Any

import pytest

from churn_operator.census import Census, state_of


def model(name: str = "telco", **conditions: tuple[str, str]) -> dict[str, Any]:
    told = [{"type": kind, "status": status, "reason": why} for kind, (status, why) in conditions.items()]
    return {"metadata": {"namespace": "team", "name": name}, "status": {"conditions": told} if told else {}}


READY = {"Ready": ("True", "Ready")}
STALLED = {"Ready": ("False", "InvalidSpec"), "Stalled": ("True", "InvalidSpec")}


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ({}, "New"),
        (READY, "Ready"),
        (STALLED, "Stalled"),
        ({"Ready": ("False", "RolledBack"), "Stalled": ("True", "RolledBack")}, "RolledBack"),
        ({"Ready": ("False", "RollingOut"), "Reconciling": ("True", "RollingOut")}, "Reconciling"),
        ({"Ready": ("False", "Suspended")}, "Idle"),
        ({"Ready": ("False", "ScaledToZero")}, "Idle"),
        (READY | {"Paused": ("True", "Paused")}, "Paused"),
    ],
)
def test_the_state_is_what_the_conditions_say(conditions: dict[str, tuple[str, str]], state: str):
    assert state_of(model(**conditions)) == state


def samples(models: list[dict[str, Any]], most: int) -> dict[str, list[Any]]:
    census = Census()
    census.of(lambda: models, most)
    return {metric.name: metric.samples for metric in census.collect()}


def named(models: list[dict[str, Any]], most: int) -> list[str]:
    return [each.labels["model"] for each in samples(models, most)["churn_operator_churnmodel_state"]]


def untold(models: list[dict[str, Any]], most: int) -> float:
    (sample,) = samples(models, most)["churn_operator_churnmodels_untold"]
    return float(sample.value)


def test_all_are_counted_however_few_are_named():
    counted = samples([model("a", **READY), model("b", **READY), model("c", **STALLED)], 1)
    by_state = {each.labels["state"]: each.value for each in counted["churn_operator_churnmodels"]}
    assert (by_state["Ready"], by_state["Stalled"], sum(by_state.values())) == (2, 1, 3)


def test_those_that_are_not_ready_are_named_first():
    assert named([model("a", **READY), model("b", **STALLED)], 1) == ["b"]


def test_what_is_not_named_is_counted_as_untold():
    models = [model(f"telco-{number}") for number in range(5)]
    assert (untold(models, 3), untold(models, 9)) == (2, 0)


def test_a_name_that_is_gone_leaves_nothing_behind():
    models = [model("gone", **READY)]
    census = Census()
    census.of(lambda: models, 10)
    list(census.collect())
    models[:] = [model("here", **READY)]
    told = [sample for metric in census.collect() for sample in metric.samples if "model" in sample.labels]
    assert [each.labels["model"] for each in told] == ["here"]
