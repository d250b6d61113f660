"""How a probability becomes a decision: a threshold, stated or computed from what the business knows."""

from itertools import accumulate
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from churn_serving.bundle.schema import NumericReference
from churn_serving.errors import ConfigInvalidError

_DECIMALS = 6  # as probabilities are published

Share = Annotated[float, Meta(gt=0, lt=1)]
Amount = Annotated[float, Meta(gt=0)]


class Costs(Struct, frozen=True, forbid_unknown_fields=True):
    """What acting on a prediction costs and brings, in one currency."""

    contact: Amount
    """Of approaching one customer."""
    value: Amount
    """Of a customer who would have left and stays."""
    success: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Share of leaving customers who stay when approached."""


class Decision(Struct, frozen=True):
    """Churn is said from a threshold up. One of the three says which.

    Attributes:
        threshold: The probability itself.
        capacity: The share of customers that can be approached: those with the highest scores.
        costs: Approach whoever is worth it.
    """

    threshold: Share | UnsetType = UNSET
    capacity: Share | UnsetType = UNSET
    costs: Costs | UnsetType = UNSET

    def __post_init__(self) -> None:
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not UNSET]
        if len(given) != 1:
            told = " and ".join(given) or "none of them"
            raise ValueError(f"a decision is one of threshold, capacity and costs; this has {told}")
        if self.costs is not UNSET and not _break_even(self.costs) < 1:
            costs = self.costs
            raise ValueError(
                f"costs: contact {costs.contact:g} must be below success x value, "
                f"{costs.success * costs.value:g}, or no customer is worth it"
            )


def threshold_of(decision: Decision, score: NumericReference) -> float:
    """The probability from which churn is said, above 0 and below 1.

    Args:
        decision: Which.
        score: The distribution of probabilities over the holdout, binned.

    Raises:
        ConfigInvalidError: A capacity, where the reference holds no scores.
    """
    if decision.threshold is not UNSET:
        return decision.threshold
    if decision.costs is not UNSET:
        return _inside(_break_even(decision.costs))
    if decision.capacity is UNSET:
        raise AssertionError("one of the three is given")
    return _inside(_score_of_top(decision.capacity, score))


def _break_even(costs: Costs) -> float:
    """Approaching pays where p * success * value >= contact (Elkan, Cost-Sensitive Learning, 2001)."""
    return costs.contact / (costs.success * costs.value)


def _score_of_top(share: float, score: NumericReference) -> float:
    """The score above which this share lies; within a bin, scores are taken to be spread evenly."""
    total = sum(score.counts)
    if total == 0:
        raise ConfigInvalidError("capacity: the bundle's reference.json holds no scores to compute it from")
    bounds = [0.0, *score.edges, 1.0]
    wanted = share * total
    bins = range(len(score.counts) - 1, -1, -1)
    for index, above in zip(bins, accumulate(reversed(score.counts)), strict=True):
        if above >= wanted:
            inside = (above - wanted) / score.counts[index]
            return bounds[index] + inside * (bounds[index + 1] - bounds[index])
    return 0.0


def _inside(threshold: float) -> float:
    least = 10.0**-_DECIMALS
    return min(max(round(threshold, _DECIMALS), least), 1 - least)
