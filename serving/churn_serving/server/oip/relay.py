"""The gRPC port: connections of our own, whose bytes are passed on to gRPC's server as they are.

gRPC stops in one step: a call that arrives while its client has yet to hear of it ends as CANCELLED, which no
client repeats. Between the two, clients are told to go elsewhere (GOAWAY) while gRPC answers on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from churn_serving.server.listen import BACKLOG
from churn_serving.server.oip.frames import Frames
from churn_serving.server.tls import HTTP2, listening

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine
    from pathlib import Path

    from churn_serving.server.tls import Certificate
    from churn_serving.settings import Settings

# Who has just connected is about to ask.
_FIRST_ANSWER_SECONDS = 1.0


class Relay:
    """Passes a port's connections on, each to one of its own behind it."""

    def __init__(
        self, listener: socket.socket, behind: Path, settings: Settings, certificate: Certificate | None
    ) -> None:
        """Nothing is accepted yet.

        Args:
            listener: The port.
            behind: The Unix socket that gRPC's server listens on.
            settings: How many connections, and how long a TLS handshake may take.
            certificate: To speak TLS with.
        """
        self._listener, self._behind, self._settings = listener, behind, settings
        self._certificate = certificate
        self._clients: set[_Client] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._left = asyncio.Event()

    async def open(self) -> None:
        """Accept connections."""
        certificate = self._certificate
        self._server = await asyncio.get_running_loop().create_server(
            partial(_Client, self),
            sock=self._listener,
            backlog=BACKLOG,
            ssl=listening(certificate, HTTP2) if certificate else None,
            ssl_handshake_timeout=self._settings.receive_seconds if certificate else None,
        )

    def turn_away(self, *, unanswered: bool = False) -> None:
        """Ask who is connected to go elsewhere; what they have begun is answered.

        Args:
            unanswered: Also those who have had no answer yet; else they hear it with their first.
        """
        for client in self._clients:
            client.turn_away(unanswered=unanswered)

    async def close(self, seconds: float) -> None:
        """Accept nobody any more, and give those who are connected this time to finish."""
        self._server.close()
        self.turn_away()
        first = min(_FIRST_ANSWER_SECONDS, seconds)
        await self._wait(first)
        self.turn_away(unanswered=True)
        await self._wait(seconds - first)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._clients:
                    self._left.clear()
                    await self._left.wait()

    def add(self, client: _Client) -> bool:
        """Whether there is room for one more."""
        if len(self._clients) >= self._settings.max_connections:
            return False
        self._clients.add(client)
        self._do(self._connect(client))
        return True

    def remove(self, client: _Client) -> None:
        """It has left."""
        self._clients.discard(client)
        self._left.set()

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: _Client) -> None:
        behind = partial(_Behind, client)
        try:
            await asyncio.get_running_loop().create_unix_connection(behind, str(self._behind))
        except OSError:
            client.transport.abort()


class _End(asyncio.Protocol):
    """One of the two connections: it is read no faster than the other is written."""

    transport: asyncio.Transport
    other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        if self.other is not None:
            self.other.transport.close()


class _Client(_End):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._frames = Frames()
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._relay.add(self):
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)
        else:
            self._early += data
            self.transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._relay.remove(self)

    def join(self, behind: _End) -> None:
        self.other = behind
        if self._early:
            behind.transport.write(self._early)
            self._early = b""
            self.transport.resume_reading()

    def answer(self, data: bytes) -> None:
        self.transport.write(self._frames.take(data))

    def turn_away(self, *, unanswered: bool) -> None:
        if said := self._frames.turn_away(unanswered=unanswered):
            self.transport.write(said)


class _Behind(_End):
    def __init__(self, client: _Client) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._client.transport.is_closing():
            self.transport.abort()
            return
        self.other = self._client
        self._client.join(self)

    def data_received(self, data: bytes) -> None:
        self._client.answer(data)
