"""How long a connection may wait for its client, and a request for its answer.

uvicorn waits for a client as long as the client likes. Here one look at all connections, again and again,
asks each what it waits for. A request that is served at once pays nothing for that, not even a timer.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from churn_serving.server.http import CLOSE, RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import uvicorn

    from churn_serving.server.connection import Connection
    from churn_serving.settings import Settings

# A client that sends as slowly as this is slow, not hostile: each such part of a body buys it a second.
BYTES_PER_SECOND = 64 << 10
_LINGER_SECONDS = 2.0
# Of the event loop: one accepts a connection, one makes it ours, one reads from it.
_ROUNDS = 3


async def watch(servers: Sequence[uvicorn.Server], settings: Settings) -> None:
    """End what has waited too long, for ever. A deadline is met up to a second late, at most half of it."""
    period = min(
        1.0, min(settings.receive_seconds, settings.keep_alive_seconds, settings.predict_seconds) / 4
    )
    loop = asyncio.get_running_loop()
    while True:
        await pause(period)
        for server in servers:
            for connection in list(server.server_state.connections):
                connection.look(loop.time())  # type: ignore[union-attr]


async def pause(seconds: float) -> None:
    """Sleep, and then take in what came meanwhile.

    uvloop runs what is due before it reads: after a process has stood still, for want of CPU or in a frozen
    machine, its own clients would be called late or gone while what they sent waits in the kernel.
    """
    await asyncio.sleep(seconds)
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


class Waits(Enum):
    """What a connection waits for."""

    IDLE = "the next request"
    HEAD = "the rest of a request's head, or the first byte of the first"
    BODY = "the rest of a request's body"
    REFUSED = "the rest of what was answered already"
    ANSWER = "our answer"
    READING = "the client to read what was sent"
    CLOSING = "the client to close"


class Patience:
    """What one connection was seen to wait for, and since when."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._seen: tuple[Waits, int] | None = None
        self._since = 0.0
        self._received = 0

    def look(self, now: float) -> None:
        """End the wait if it is the one seen before, and too long."""
        seen = self._waits()
        if seen != self._seen:
            self._seen, self._since, self._received = seen, now, self._connection.received_of_bodies
        elif now - self._since > self._allowed(seen[0]):
            self._end(seen[0])

    def _waits(self) -> tuple[Waits, int]:
        """What for, and which one of them: another is another wait."""
        connection = self._connection
        cycle, transport = connection.cycle, connection.transport
        if transport.is_closing() or connection.lingers:
            return Waits.CLOSING, 0
        if unread := transport.get_write_buffer_size():
            return Waits.READING, unread
        if cycle is None or connection.in_head:
            return Waits.HEAD, connection.requests
        if not cycle.response_complete:
            return (Waits.BODY if cycle.more_body else Waits.ANSWER), connection.requests
        return (Waits.REFUSED if cycle.more_body else Waits.IDLE), connection.requests

    def _allowed(self, waits: Waits) -> float:
        match waits:
            case Waits.IDLE:
                return self._settings.keep_alive_seconds
            case Waits.ANSWER:
                return self._settings.predict_seconds
            case Waits.CLOSING:
                return _LINGER_SECONDS
            case Waits.BODY:
                received = self._connection.received_of_bodies - self._received
                return self._settings.receive_seconds + received / BYTES_PER_SECOND
            case _:
                return self._settings.receive_seconds

    def _end(self, waits: Waits) -> None:
        connection = self._connection
        match waits:
            case Waits.BODY | Waits.HEAD if connection.flow.read_paused:  # it is we who do not read
                self._seen = None
            case Waits.BODY:
                text = "the body did not arrive in time"
                connection.tell(RequestError(408, "request_timeout", text, headers=CLOSE))
            case Waits.ANSWER if connection.task is not None and not connection.cycle.response_started:
                connection.task.cancel()
            case Waits.HEAD if connection.scope is not None:
                text = "the request's head did not arrive in time"
                connection.refuse(RequestError(408, "request_timeout", text))
            case Waits.READING | Waits.CLOSING:
                connection.transport.abort()
            case Waits.IDLE | Waits.REFUSED | Waits.HEAD:
                connection.transport.close()
