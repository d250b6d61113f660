"""/livez of a real process fails while what it knows grows stale, and only then."""

import asyncio

import aiohttp
import pytest

from churn_dev.fault_proxy import Call, Fault, pass_on
from churn_operator.kinds import SERVICE

from .trial import QUICK, SPEC, Lane, Trial
from .ways import held_until

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

SHORT_WATCHES = {"churn_operator.runtime.client.WATCH_SECONDS": 2, "churn_operator.handlers.WATCH_SECONDS": 2}
"""Watches that end and begin anew all the time: each time is a sign of life."""


class Mute:
    """Answers nothing to some calls while it is silent; then it lets the server answer them."""

    def __init__(self, *, writes_to: str = "") -> None:
        self.speaks = asyncio.Event()
        self.speaks.set()
        self._writes_to = writes_to

    def choose(self, call: Call) -> Fault:
        concerned = not self._writes_to or (call.is_write and call.place[1] == self._writes_to)
        return held_until(self.speaks) if concerned else pass_on


async def test_watches_that_fall_silent_fail_it_until_they_are_heard_again(lane: Lane) -> None:
    mute = Mute()
    pace = QUICK | SHORT_WATCHES | {"churn_operator.probes.STUCK_WATCH_SECONDS": 8.0}
    async with Trial.open(lane, pace, hold=True) as trial:
        trial.proxy.choose = mute.choose
        trial.start()
        await trial.apply(SPEC)
        await trial.until_settled()
        await until_told(trial, 200, "ok")
        mute.speaks.clear()
        for kind in ("churnmodels", "services", "pods"):
            await until_told(trial, 503, f"watch of {kind}")
        assert (await ask(trial, "/readyz"))[0] == 200
        mute.speaks.set()
        await until_told(trial, 200, "ok")
        await trial.edit(decision={"threshold": 0.7})
        await trial.until_settled()


async def test_a_pass_that_does_not_end_fails_it_until_it_does(lane: Lane) -> None:
    mute = Mute(writes_to=SERVICE.plural)
    async with Trial.open(
        lane, QUICK | {"churn_operator.probes.STUCK_PASS_SECONDS": 3.0}, hold=True
    ) as trial:
        trial.proxy.choose = mute.choose
        trial.start()
        await trial.apply(SPEC)
        await trial.until_settled()
        mute.speaks.clear()
        await trial.delete(SERVICE)
        await until_told(trial, 503, "a pass over a ChurnModel")
        mute.speaks.set()
        await trial.until(lambda: trial.get(SERVICE), "the Service is back")
        await until_told(trial, 200, "ok")


async def until_told(trial: Trial, status: int, words: str) -> None:
    """Waits until /livez answers so."""

    async def told() -> bool:
        code, text = await ask(trial, "/livez")
        return code == status and words in text

    await trial.until(told, f"/livez says {status} {words}")


async def ask(trial: Trial, path: str) -> tuple[int, str]:
    """Status and text of a probe's answer."""
    url = f"http://127.0.0.1:{trial.ports[0]}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()
