"""Watches break in every way while things happen unseen; all is noticed, and none of it costs the process."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from churn_dev.fault_proxy import Call, Exchange, Fault, Reply, pass_on
from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL, CONFIG_MAP, SERVICE

from .trial import QUICK, SPEC, Lane, Trial

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

AT_ONCE = 4
PACE = QUICK | {
    "churn_operator.shell.BLIND_SECONDS": 5.0,
    "churn_operator.runtime.client.SILENCE_SECONDS": 4.0,
    "churn_operator.handlers.SILENCE_SECONDS": 4.0,
    "churn_operator.runtime.reflector.LONGEST_BACKOFF_SECONDS": 2.0,
    "churn_operator.shell.LONGEST_BACKOFF_SECONDS": 2.0,
}
"""Clocks that run faster: of silence, and of what is tried again and again."""


def status(code: int, reason: str) -> bytes:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return json.dumps(body | {"code": code, "reason": reason, "message": "a fault of the tests"}).encode()


def error(code: int, reason: str) -> bytes:
    return b'{"type": "ERROR", "object": ' + status(code, reason) + b"}\n"


LAST_LINES = {
    "an error 410": error(410, "Expired"),
    "an error 429": error(429, "TooManyRequests"),
    "an error 500": error(500, "InternalError"),
    "half a line": b'{"type": "MODIFIED", "obj',
    "a line that is no JSON": b"<html>\n",
    "an event of nothing": b'{"type": "MODIFIED", "object": null}\n',
    "an error of nothing": b'{"type": "ERROR", "object": "x"}\n',
    "an event without a version": b'{"type": "ADDED", "object": {"metadata": {}}}\n',
    "nothing": b"",
}
WAYS = (*LAST_LINES, "a status 410", "a status 500", "silence")


class Gap:
    """Passes watches on; then withholds what they bring; then ends them in one of the ways."""

    def __init__(self, way: str) -> None:
        self.begun = False
        self.over = asyncio.Event()
        self._way = way
        self._refused: set[str] = set()

    def choose(self, call: Call) -> Fault:
        if not call.is_watch:
            return pass_on
        if not self.begun:
            return self._watch
        if self._way.startswith("a status") and call.path not in self._refused:
            self._refused.add(call.path)
            return self._refuse
        return pass_on

    async def _watch(self, exchange: Exchange) -> web.StreamResponse:
        return await exchange.stream(self._lines(exchange))

    async def _refuse(self, exchange: Exchange) -> web.StreamResponse:
        code = int(self._way.rpartition(" ")[2])
        return await exchange.tell(Reply(code, status(code, "Fault")))

    async def _lines(self, exchange: Exchange) -> AsyncIterator[bytes]:
        source, over = exchange.lines(), asyncio.create_task(self.over.wait())
        try:
            while True:
                line = asyncio.ensure_future(anext(source, b""))
                await asyncio.wait({line, over}, return_when=asyncio.FIRST_COMPLETED)
                if over.done() or not line.result():
                    line.cancel()
                    yield LAST_LINES.get(self._way, b"")
                    return
                if not self.begun:
                    yield line.result()
        finally:
            over.cancel()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ended(lane: Lane) -> dict[str, BaseException | None]:
    """What each way of ending a gap led to, some of them at a time: an error, or none."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def run(way: str) -> None:
        async with turns:
            await live_through(lane, way)

    results = await asyncio.gather(*(run(way) for way in WAYS), return_exceptions=True)
    return dict(zip(WAYS, results, strict=True))


@pytest.mark.parametrize("way", WAYS)
async def test_what_happened_in_a_gap_of_the_watches_is_noticed(
    ended: dict[str, BaseException | None], way: str
) -> None:
    if error := ended[way]:
        raise error


async def live_through(lane: Lane, way: str) -> None:
    """Makes, changes and deletes things in a gap of the watches, and waits for what must come of it."""
    gap = Gap(way)
    async with Trial.open(lane, PACE, hold=True) as trial:
        trial.proxy.choose = gap.choose
        trial.start()
        await trial.apply(SPEC)
        await trial.apply(SPEC, "goes")
        await trial.until_settled()
        await trial.until_settled("goes")
        gap.begun = True
        await trial.delete(CHURN_MODEL, "goes")
        await trial.apply(SPEC, "brief")
        await trial.delete(CHURN_MODEL, "brief")
        await trial.delete(SERVICE)
        await trial.edit(decision={"threshold": 0.7})
        await trial.apply(SPEC, "comes")
        if way != "silence":
            gap.over.set()
        await trial.until_settled()
        await trial.until_settled("comes")
        await trial.until(lambda: trial.get(SERVICE), "the Service is back")
        config = await trial.get(CONFIG_MAP)
        assert config
        assert "0.7" in json.dumps(config["data"])
        for name in ("goes", "brief"):
            await trial.until(lambda name=name: _is_gone(trial, name), f"nothing of {name} is left")  # type: ignore[misc]
        await trial.until_quiet()
        gap.over.set()
        assert await _is_gone(trial, "goes")
        assert trial.life
        assert trial.life.is_alive()


async def _is_gone(trial: Trial, name: str) -> bool:
    found = await asyncio.gather(*(trial.get(kind, name) for kind in CHILD_KINDS))
    return not any(found)


async def test_watches_that_end_at_once_every_time_are_made_good_by_lists(lane: Lane) -> None:
    watches: list[Call] = []

    async def end_at_once(exchange: Exchange) -> web.StreamResponse:
        watches.append(exchange.call)
        return await exchange.tell(Reply(200, b""))

    async with Trial.open(lane, PACE, hold=True) as trial:
        trial.proxy.choose = lambda call: end_at_once if call.is_watch else pass_on
        trial.start()
        await trial.apply(SPEC)
        await trial.until_settled()
        await trial.edit(decision={"threshold": 0.7})
        await trial.until_settled()
        await trial.delete(SERVICE)
        await trial.until(lambda: trial.get(SERVICE), "the Service is back")
        await trial.delete(CHURN_MODEL)
        await trial.until(lambda: _is_gone(trial, "telco"), "nothing is left")
        lasted = asyncio.get_running_loop().time() - trial.began
        assert len(watches) < 9 * (10 + 2 * lasted)  # nine watches, each asked for twice a second at most


@pytest.mark.parametrize("path", ["/apis", "/apis/churnops.io", "/apis/churnops.io/v1alpha1"])
async def test_one_odd_answer_about_what_there_is_to_watch_blinds_nobody(lane: Lane, path: str) -> None:
    """Asked once, it would be believed for good."""
    asked: list[Call] = []

    async def there_is_none(exchange: Exchange) -> web.StreamResponse:
        return await exchange.tell(Reply(404, status(404, "NotFound")))

    def choose(call: Call) -> Fault:
        if call.path.rstrip("/") != path or asked:
            return pass_on
        asked.append(call)
        return there_is_none

    async with Trial.open(lane, PACE, hold=True) as trial:
        trial.proxy.choose = choose
        trial.start()
        await trial.apply(SPEC)
        await trial.until_settled()
        for threshold in (0.6, 0.7):
            await trial.edit(decision={"threshold": threshold})
            await trial.until_settled()
