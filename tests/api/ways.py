"""What can become of a request on its way: the API server fails it, or the operator dies of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import aiohttp
from aiohttp import web

from churn_dev.fault_proxy import Exchange, Fault, RefusedWatchError, Reply, pass_on

from .trial import PATIENCE_SECONDS, QUICK, Trial

REQUEST_SECONDS = 3.0
"""How long the operator of these trials waits for an answer; a stall is longer."""
PACE = QUICK | {
    "churn_operator.runtime.client.REQUEST_TIMEOUT": aiohttp.ClientTimeout(total=REQUEST_SECONDS),
    "churn_operator.handlers.REQUEST_SECONDS": REQUEST_SECONDS,
    "churn_operator.shell.BLIND_SECONDS": 2 * REQUEST_SECONDS,
}
WITHOUT_END = QUICK | {
    "churn_operator.runtime.client.REQUEST_TIMEOUT": aiohttp.ClientTimeout(total=100 * PATIENCE_SECONDS)
}
"""The operator waits for an answer for longer than anybody waits here: no timeout comes to the rescue."""
PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def answered(status: int, **headers: str) -> Fault:
    """The server refuses it, as it would say so itself."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status}
    reply = Reply(
        status,
        json.dumps(body | {"message": "a fault of the tests"}).encode(),
        {"Content-Type": "application/json"}
        | {name.replace("_", "-"): text for name, text in headers.items()},
    )

    async def fault(exchange: Exchange) -> web.StreamResponse:
        return await exchange.tell(reply)

    return fault


def shown(status: int) -> Fault:
    """Something between shows a page."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        return await exchange.tell(Reply(status, PAGE, {"Content-Type": "text/html"}))

    return fault


async def reset(exchange: Exchange) -> web.StreamResponse:
    return exchange.cut()


async def half(exchange: Exchange) -> web.StreamResponse:
    """It is done, and half of the reply arrives."""
    reply = await exchange.forward()
    return await exchange.tell(reply, cut_at=len(reply.body) // 2)


async def stall(exchange: Exchange) -> web.StreamResponse:
    await asyncio.sleep(10 * REQUEST_SECONDS)
    return exchange.cut()


async def done_but_denied(exchange: Exchange) -> web.StreamResponse:
    await exchange.forward()
    return await answered(500)(exchange)


async def of_another_shape(exchange: Exchange) -> web.StreamResponse:
    return await exchange.tell(Reply(200, b'{"error": {"code": 7}, "metadata": [], "details": "none"}'))


def held_back(seconds: float) -> Fault:
    """Each line of a watch comes late, and in its order."""

    async def hold_back(exchange: Exchange) -> web.StreamResponse:
        lines: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        now = asyncio.get_running_loop().time

        async def read() -> None:
            with contextlib.suppress(RefusedWatchError, aiohttp.ClientError):  # ends as one that is over
                async for line in exchange.lines():
                    lines.put_nowait((now() + seconds, line))
            lines.put_nowait((now() + seconds, b""))

        async def late() -> AsyncIterator[bytes]:
            reading = asyncio.create_task(read())
            try:
                while True:
                    due, line = await lines.get()
                    await asyncio.sleep(due - now())
                    if not line:
                        return
                    yield line
            finally:
                reading.cancel()

        return await exchange.stream(late())

    return hold_back


def held_until(event: asyncio.Event) -> Fault:
    """It is passed on once the event is set."""

    async def hold(exchange: Exchange) -> web.StreamResponse:
        await event.wait()
        return await pass_on(exchange)

    return hold


WAYS: dict[str, Fault] = {
    "409": answered(409),
    "422": answered(422),
    "429": answered(429),
    "429 with Retry-After": answered(429, Retry_After="1"),
    "500": answered(500),
    "503": answered(503),
    "reset": reset,
    "half a reply": half,
    "a page with 200": shown(200),
    "a page with 503": shown(503),
    "a page with 404": shown(404),
    "a stall": stall,
    "done, answered with 500": done_but_denied,
    "other JSON": of_another_shape,
}
ONLY_WRITES = {"409", "422"}
"""No read is answered so."""


def before_it_is_sent(trial: Trial) -> Fault:
    async def fault(exchange: Exchange) -> web.StreamResponse:
        trial.restart()
        return exchange.cut()

    return fault


def after_it_is_committed(trial: Trial) -> Fault:
    async def fault(exchange: Exchange) -> web.StreamResponse:
        await exchange.forward()
        trial.restart()
        return exchange.cut()

    return fault


def after_the_reply(trial: Trial) -> Fault:
    async def fault(exchange: Exchange) -> web.StreamResponse:
        response = await exchange.tell(await exchange.forward())
        trial.restart()
        return response

    return fault


PHASES: dict[str, Callable[[Trial], Fault]] = {
    phase.__name__: phase for phase in (before_it_is_sent, after_it_is_committed, after_the_reply)
}
"""When the operator is killed."""
