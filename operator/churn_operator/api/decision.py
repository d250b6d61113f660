"""`spec.decision`: what a probability means, in one of three ways. The server makes a threshold of it."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from churn_operator.api.schema import ApiModel, rules

ONE_WAY = "set exactly one of threshold, capacity and costs"
WORTH_IT = "contact must be below success x value, or no customer is worth approaching"
BETWEEN = "must lie between 0 and 1, both excluded"
POSITIVE = "must be above 0"
SUCCESS = "success must be above 0 and at most 1"


def _held_to(rule: str, message: str) -> Any:
    return Field(json_schema_extra=rules((rule, message)))


class Costs(ApiModel):
    """What acting on a prediction costs and brings, in one currency."""

    model_config = ConfigDict(
        json_schema_extra=rules(("self.contact < self.success * self.value", WORTH_IT)),
    )

    contact: Annotated[float, _held_to("self > 0.0", f"contact {POSITIVE}")]
    """Cost of approaching one customer."""
    value: Annotated[float, _held_to("self > 0.0", f"value {POSITIVE}")]
    """Worth of a customer who would have left and stays."""
    success: Annotated[float, _held_to("self > 0.0 && self <= 1.0", SUCCESS)] = 1.0
    """Share of leaving customers who stay when they are approached."""

    @field_validator("contact", "value")
    @classmethod
    def _is_positive(cls, amount: float, info: ValidationInfo) -> float:
        if not amount > 0:
            raise ValueError(f"{info.field_name} {POSITIVE}")
        return amount

    @field_validator("success")
    @classmethod
    def _is_a_share(cls, success: float) -> float:
        if not 0 < success <= 1:
            raise ValueError(SUCCESS)
        return success

    @model_validator(mode="after")
    def _someone_is_worth_it(self) -> Self:
        if not self.contact < self.success * self.value:
            raise ValueError(WORTH_IT)
        return self


class Decision(ApiModel):
    """From which probability on a customer is said to churn. Changes need no restart."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "[has(self.threshold), has(self.capacity), has(self.costs)].filter(given, given).size() == 1",
                ONE_WAY,
            )
        )
    )

    threshold: Annotated[float, _held_to("self > 0.0 && self < 1.0", f"threshold {BETWEEN}")] | None = None
    """A customer churns where the probability is at least this."""
    capacity: Annotated[float, _held_to("self > 0.0 && self < 1.0", f"capacity {BETWEEN}")] | None = None
    """Share of the customers that can be approached: those with the highest probabilities churn."""
    costs: Costs | None = None
    """Approach whoever is worth it: a customer churns where probability x success x value reaches contact."""

    @field_validator("threshold", "capacity")
    @classmethod
    def _inside_the_unit_interval(cls, share: float | None, info: ValidationInfo) -> float | None:
        if share is not None and not 0 < share < 1:
            raise ValueError(f"{info.field_name} {BETWEEN}")
        return share

    @model_validator(mode="after")
    def _is_said_in_one_way(self) -> Self:
        if sum(way is not None for way in (self.threshold, self.capacity, self.costs)) != 1:
            raise ValueError(ONE_WAY)
        return self
