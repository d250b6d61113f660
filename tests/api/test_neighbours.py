"""No ChurnModel waits for another: one that gets no answer, and some whose every write is refused."""

import asyncio

import pytest

from churn_dev.fault_proxy import Call, Fault, pass_on
from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL

from .trial import PATIENCE_SECONDS, SPEC, Lane, Trial, said
from .ways import PACE, WAYS, WITHOUT_END, held_until

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

OTHERS = tuple(f"other-{number}" for number in range(20))
ONE_REPLICA = SPEC | {"replicas": 1}


def is_write_of(call: Call, name: str) -> bool:
    """Whether the operator writes something of that ChurnModel; an Event names it in its body."""
    return call.is_write and (call.place[2].startswith(name) or f'"{name}"'.encode() in call.body)


async def create_and_settle_others(trial: Trial) -> None:
    await asyncio.gather(*(trial.apply(ONE_REPLICA, name) for name in OTHERS))
    for name in OTHERS:
        await trial.until_settled(name)


async def test_others_settle_while_the_writes_of_one_get_no_answer(lane: Lane) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    def choose(call: Call) -> Fault:
        if not is_write_of(call, "held"):
            return pass_on
        asked.set()
        return held_until(answered)

    async with Trial.open(lane, WITHOUT_END) as trial:
        trial.proxy.choose = choose
        await trial.apply(ONE_REPLICA, "held")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asked.wait()
        await create_and_settle_others(trial)
        assert [await trial.get(kind, "held") for kind in CHILD_KINDS] == [None] * len(CHILD_KINDS)
        answered.set()
        await trial.until_settled("held")


async def test_others_settle_while_every_write_of_some_is_refused(lane: Lane) -> None:
    ways = {f"bad-{way}": way for way in ("422", "500")}
    refused: list[str] = []

    def choose(call: Call) -> Fault:
        bad = next((name for name in ways if is_write_of(call, name)), None)
        refused.extend([bad] if bad else [])
        return WAYS[ways[bad]] if bad else pass_on

    async with Trial.open(lane, PACE) as trial:
        trial.proxy.choose = choose
        await asyncio.gather(*(trial.apply(ONE_REPLICA, name) for name in ways))
        await trial.until(lambda: _are_in(ways, refused), "each was refused something")
        await create_and_settle_others(trial)
        for name in ways:
            assert said(await trial.get(CHURN_MODEL, name), "Ready") == {}, "nothing of it was written"


async def _are_in(names: dict[str, str], refused: list[str]) -> bool:
    return set(names) <= set(refused)
