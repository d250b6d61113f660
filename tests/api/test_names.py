"""ChurnModels come and go under the same and under other names; the operator keeps nothing of those gone."""

import asyncio
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from churn_dev.fault_proxy import Call, Fault, pass_on
from churn_dev.lives import sizes
from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL, POD

from ..chance import THOROUGH, dice  # noqa: TID252  # lanes share how they draw
from .scenario import AUTOSCALING
from .trial import SPEC, Json, Lane, Trial, said
from .ways import PACE, WAYS

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

AT_ONCE = 15
ROUNDS = 60 if THOROUGH else 3
FIRST = 1
"""Rounds after which whatever is made once was made."""
FAULTY_SHARE = 0.05
SPECS: tuple[Json, ...] = (
    SPEC | {"replicas": 0},
    SPEC | {"replicas": 1},
    SPEC | {"suspend": True, "autoscaling": AUTOSCALING},
    SPEC | {"serving": {"serviceAccountName": "nobody"}},
)
"""Served, idle and refused; few pods, as nothing here runs them."""
CACHED = {"objects of yarl.URL"}
"""What libraries keep for the next time, up to some number that the short run does not reach."""
TIMED = {"in Schedule._heap", "in Schedule._times"}
"""What ends by itself: what was refused is looked at again half a minute later, if it is there."""
FORGETFUL = {
    f"asyncio.base_events._MIN_{what}": 0
    for what in ("SCHEDULED_TIMER_HANDLES", "CANCELLED_TIMER_HANDLES_FRACTION")
}
"""asyncio else keeps up to a hundred timers of requests that were answered in time."""
IDLE_SECONDS = 16
"""kopf's workers of single objects end after 5 s without work, aiohttp's idle connections after 15 s."""
TOLD_OF_ONE = re.compile(r"churn_operator_(churnmodel_state|(churnmodels|cached_objects)\{.* [1-9])")
"""A line of /metrics that knows of a ChurnModel, or of a child."""


async def test_names_that_come_and_go_leave_nothing_behind(lane: Lane) -> None:
    async with Trial.open(lane, PACE | FORGETFUL) as trial:
        counted: list[tuple[Counter[str], int]] = []
        for number in range(ROUNDS):
            await come_and_go(trial, number)
            if number + 1 in {FIRST, ROUNDS}:
                counted.append((await held(trial), len([*series(trial)])))
        (before, series_before), (after, series_after) = counted
        names = (ROUNDS - FIRST) * AT_ONCE
        grown = {what: count - before[what] for what, count in after.items() if count > before[what]}
        print(f"{names} names, {sum(call.is_write for call in trial.writes)} writes; grown: {grown}")
        assert {what for what in grown if what.startswith("in ")} <= TIMED
        few = names / 2  # what faults of another kind than before bring: a metric's series, a logger
        assert {what: by for what, by in grown.items() if by > few and what not in CACHED} == {}
        assert series_after - series_before < few
        assert [line for line in series(trial) if TOLD_OF_ONE.match(line)] == []


async def come_and_go(trial: Trial, number: int) -> None:
    """Some names are those of the round before, and made again before the last of them is gone."""
    draw = dice(f"names {number}")

    def choose(call: Call) -> Fault:
        faulty = not call.is_watch and draw.random() < FAULTY_SHARE
        return WAYS[draw.choice(("429", "500", "reset", "done, answered with 500"))] if faulty else pass_on

    trial.proxy.choose = choose
    names = [f"again-{n}" for n in range(AT_ONCE // 3)]
    names += [f"round-{number}-{n}" for n in range(AT_ONCE - len(names))]
    await asyncio.gather(*(trial.apply(draw.choice(SPECS), name) for name in names))
    await asyncio.sleep(draw.choice((0.0, 0.3)))
    for name in names[:2]:
        await trial.delete(CHURN_MODEL, name)
        await trial.apply(SPECS[0], name)
    if draw.random() < 0.5:
        trial.proxy.cut_all()
    for name in names:
        await trial.until(lambda name=name: is_told(trial, name), f"{name} has a status")  # type: ignore[misc]
    trial.proxy.choose = lambda _: pass_on
    await asyncio.gather(*(trial.delete(CHURN_MODEL, name) for name in names))


async def is_told(trial: Trial, name: str) -> bool:
    return bool(said(await trial.get(CHURN_MODEL, name), "Ready"))


async def held(trial: Trial) -> Counter[str]:
    """What the operator holds, once nothing is left of any ChurnModel."""

    async def is_empty() -> bool:
        found = await asyncio.gather(*(trial.all(kind) for kind in (*CHILD_KINDS, POD)))
        left = [obj["metadata"]["name"] for objects in found for obj in objects]
        return left in ([], ["kube-root-ca.crt"])

    async def is_forgotten() -> bool:
        return not any(TOLD_OF_ONE.match(line) for line in series(trial))

    async def is_at_rest() -> bool:
        return bool(re.search(r"^workqueue_depth\S* 0", "\n".join(series(trial)), re.MULTILINE))

    await trial.until(is_empty, "nothing is left")
    await trial.until(is_forgotten, "the operator knows of none")  # of which its watches tell in their time
    trial.proxy.hang_up()  # a pool else stays as large as it was at its busiest
    await trial.until_quiet(IDLE_SECONDS)
    await trial.until(is_at_rest, "no ChurnModel waits")
    assert trial.life
    await asyncio.to_thread(sizes, trial.life, trial.log)  # looking at objects makes dicts of them
    return await asyncio.to_thread(sizes, trial.life, trial.log)


def series(trial: Trial) -> Iterator[str]:
    """Lines of /metrics that hold a value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{trial.ports[1]}/metrics", timeout=60) as answer:
        said: Any = answer.read().decode()
    yield from (line for line in said.splitlines() if not line.startswith("#"))
