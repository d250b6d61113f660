"""The operator on a machine whose clock is wrong, or steps: ages are told by the API server's."""

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from churn_dev.clocks import OFF, Ahead, Behind, Stepping
from churn_operator.kinds import CHURN_MODEL, CONTROLLER_REVISION, EVENT
from churn_operator.names import FIELD_MANAGER, IN_PLACE_OF_ANNOTATION

from .trial import BAD, QUICK, SPEC, Json, Lane, Trial, said

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

DEADLINE_SECONDS = 10
LATE_SECONDS = 180
"""Far more than it takes, and far less than the clocks are off."""


def machine_with(clock: type[datetime]) -> Json:
    """A pace in which all of the operator that asks for the time of day asks this clock."""
    importlib.import_module("churn_operator.__main__")
    found = {
        f"{name}.datetime": clock
        for name, module in sys.modules.items()
        if name.startswith("churn_operator.") and getattr(module, "datetime", None) is datetime
    }
    assert found
    return QUICK | found


def time_of(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)


async def test_a_bad_revision_is_given_up_neither_early_nor_late(lane: Lane) -> None:
    assert OFF.total_seconds() > 2 * LATE_SECONDS
    await asyncio.gather(*(give_up_on_time(lane, clock) for clock in (Ahead, Behind, Stepping)))


async def give_up_on_time(lane: Lane, clock: type[datetime]) -> None:
    async with Trial.open(lane, machine_with(clock)) as trial:
        await trial.apply(SPEC)
        await trial.until_settled()
        await trial.edit(model=BAD, progressDeadlineSeconds=DEADLINE_SECONDS)
        model = await trial.until(rolled_back(trial), f"rolled back, {clock.__name__}", seconds=LATE_SECONDS)

        records = await trial.all(CONTROLLER_REVISION)
        marks = [IN_PLACE_OF_ANNOTATION in each["metadata"].get("annotations", {}) for each in records]
        (good,) = [each for each, marked in zip(records, marks, strict=True) if marked]
        (bad,) = [each for each, marked in zip(records, marks, strict=True) if not marked]
        # By the API server's clock all of it; the pods of a revision are made after its record.
        asked = time_of(bad["metadata"]["creationTimestamp"])
        managed = good["metadata"]["managedFields"]
        (given_up,) = [time_of(each["time"]) for each in managed if each["manager"] == FIELD_MANAGER]
        assert (given_up - asked).total_seconds() >= DEADLINE_SECONDS

        event = await trial.until(event_of(trial), "the event", seconds=LATE_SECONDS)
        shown = [time_of(said(model, "Stalled")["lastTransitionTime"]), time_of(event["eventTime"])]
        assert all(asked <= moment <= datetime.now(UTC) for moment in shown)


def rolled_back(trial: Trial) -> Callable[[], Awaitable[Json | None]]:
    async def look() -> Json | None:
        seen = await trial.get(CHURN_MODEL)
        return seen if said(seen, "Ready").get("reason") == "RolledBack" else None

    return look


def event_of(trial: Trial) -> Callable[[], Awaitable[Json | None]]:
    async def look() -> Json | None:
        return next((each for each in await trial.all(EVENT) if each["reason"] == "RolledBack"), None)

    return look
