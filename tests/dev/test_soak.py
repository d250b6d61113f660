"""The soak's table: what was not asked, or too thinly, is not met."""

from collections import Counter

import pytest

from churn_dev.load import STRANGER, Outcomes
from churn_dev.soak import Result, Trial

LOST_SOME = Outcomes(Counter({200: 90}), Counter({"ClientConnectorError": 10}))
ALL_WELL = Outcomes(Counter({200: 10_000}))


def result(*trials: Trial, outcomes: Outcomes = ALL_WELL, locust: Outcomes | None = None) -> Result:
    return Result(list(trials), outcomes, locust, LOST_SOME)


def missed(found: Result) -> list[str]:
    return [figure.what for figure in found.figures() if not figure.met]


def test_a_soak_that_lost_nothing_is_met():
    assert missed(result(Trial("drain of a node", 5, 40, 10_000, 0), locust=ALL_WELL)) == []


def test_a_trial_in_which_nothing_was_asked_is_not_met():
    """The load may have ended before it."""
    found = result(Trial("rollout of the model", 20, 40, 20_000, 0), Trial("drain of a node", 5, 40, 0, 0))
    assert missed(found) == ["5 x drain of a node"]


def test_a_load_that_lags_behind_is_not_met():
    found = result(Trial("rollout of the model", 20, 10, 2_500, 0), Trial("drain of a node", 5, 10, 1_400, 0))
    assert found.rate == pytest.approx(195)
    assert missed(found) == ["requests a second in all of this"]


def test_without_a_trial_nothing_is_met():
    assert missed(result(outcomes=Outcomes(), locust=Outcomes())) == [
        "all requests", "beside them, by Locust", "requests a second in all of this",
    ]  # fmt: skip


def test_a_200_of_somebody_else_is_a_failure():
    strange = Outcomes(Counter({200: 9_999}), Counter({STRANGER: 1}))
    assert missed(result(Trial("drain of a node", 5, 40, 10_000, 0), outcomes=strange)) == ["all requests"]
