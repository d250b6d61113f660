"""ChurnModels of the CRD's own schema, on the API server: each is served, or told why not."""

import asyncio
from typing import Any

import pytest
from hypothesis import Phase, given

from churn_operator.api.conditions import Reason
from churn_operator.errors import UnprocessableError
from churn_operator.kinds import CHURN_MODEL

from ..chance import THOROUGH, generated  # noqa: TID252  # lanes share how they draw
from ..operator.crd_strategies import broken_specs, specs  # noqa: TID252  # lanes share what makes specs
from .trial import Json, Lane, Trial, said

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

AT_ONCE = 30
ON_ITS_WAY = {Reason.ROLLING_OUT, Reason.WAITING_FOR_REMOVAL}
"""Reasons that say only that it is not over yet."""


def drawn(strategy: Any, count: int) -> list[Any]:
    """Examples of a strategy."""
    found: list[Any] = []

    @generated(count, database=None, phases=[Phase.generate])
    @given(strategy)
    def draw(example: Any) -> None:
        found.append(example)

    draw()
    return found


def modest(spec: Json) -> Json:
    """The same spec with few replicas: there are no nodes to run them."""
    spec = spec | {"replicas": spec.get("replicas", 2) % 3}
    if autoscaling := spec.get("autoscaling"):
        spec["autoscaling"] = autoscaling | {"minReplicas": min(2, autoscaling.get("minReplicas", 2))}
    return spec


async def test_each_ends_ready_or_with_a_reason(lane: Lane) -> None:
    found = [modest(spec) for spec in drawn(specs(), 500 if THOROUGH else AT_ONCE)]
    told: dict[str, int] = {}
    async with Trial.open(lane) as trial:
        for first in range(0, len(found), AT_ONCE):
            batch = found[first : first + AT_ONCE]
            names = [f"generated-{number}" for number in range(len(batch))]
            await asyncio.gather(*(trial.apply(spec, name) for name, spec in zip(names, batch, strict=True)))
            for name in names:
                what = f"{name} has a verdict"
                reason, message = await trial.until(lambda name=name: verdict(trial, name), what)  # type: ignore[misc]
                assert message
                told[reason] = told.get(reason, 0) + 1
            await asyncio.gather(*(trial.delete(CHURN_MODEL, name) for name in names))
            await trial.until_quiet()
    print(f"{len(found)} ChurnModels: {told}")
    assert told[Reason.READY] > len(found) / 4


async def verdict(trial: Trial, name: str) -> tuple[str, str] | None:
    """Reason and message of Ready, once they are about the present generation and will not pass."""
    seen = await trial.get(CHURN_MODEL, name) or {}
    ready = said(seen, "Ready")
    current = ready.get("observedGeneration") == seen.get("metadata", {}).get("generation")
    if not current or ready["reason"] in ON_ITS_WAY:
        return None
    return ready["reason"], ready["message"]


async def test_a_wrong_value_is_refused_with_its_field_named(lane: Lane) -> None:
    async with Trial.open(lane) as trial:
        for spec, field in drawn(broken_specs(), 500 if THOROUGH else AT_ONCE):
            with pytest.raises(UnprocessableError) as refusal:
                await lane.admin.create(
                    CHURN_MODEL, CHURN_MODEL.named(trial.namespace, "broken") | {"spec": spec}, "author"
                )
            assert field.split(".")[1] in refusal.value.message
