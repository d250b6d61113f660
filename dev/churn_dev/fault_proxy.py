"""A proxy before an API server that passes everything on, save for what it is told to spoil."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web

HOPS = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})
"""Headers that belong to one connection (RFC 9110, 7.6.1), and those that are set anew."""
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True)
class Call:
    """One request to the API server, as its path says it."""

    method: str
    path: str
    query: dict[str, str]
    content_type: str
    body: bytes

    @property
    def is_write(self) -> bool:
        return self.method in WRITES

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch", "").lower() in {"1", "true"}

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Namespace, resource, name and subresource; empty where the path has none."""
        parts = self.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[:1] == ["namespaces"] and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        resource, name, subresource = (*parts, "", "", "")[:3]
        return namespace, resource, name, subresource

    def json(self) -> Any:
        """The body; None where there is none."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Reply:
    """A whole reply. For one that is told in place of the server's, `status` and `body` are enough."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


class Exchange:
    """One request on its way, for a fault to spoil. A fault ends it with `tell`, `cut` or `stream`."""

    def __init__(self, call: Call, request: web.BaseRequest, session: aiohttp.ClientSession) -> None:
        self.call = call
        self._request = request
        self._session = session

    async def forward(self, body: bytes | None = None) -> Reply:
        """Lets the server do it, or with `body` something else; what it replies goes no further than here."""
        async with self._send(body) as upstream:
            kept = {name: value for name, value in upstream.headers.items() if name.lower() not in HOPS}
            return Reply(upstream.status, await upstream.read(), kept)

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines of a watch, as the server sends them."""
        async with self._send() as upstream:
            if upstream.status >= 300:
                raise RefusedWatchError(Reply(upstream.status, await upstream.read()))
            async for line in upstream.content:
                yield line

    async def tell(self, reply: Reply, *, cut_at: int | None = None) -> web.StreamResponse:
        """Replies; with `cut_at` the connection ends after so many bytes of the body that was announced."""
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.content_length = len(reply.body)
        await response.prepare(self._request)
        await response.write(reply.body[:cut_at])
        if cut_at is None:
            await response.write_eof()
            return response
        return self.cut()

    async def stream(self, lines: AsyncIterator[bytes]) -> web.StreamResponse:
        """Replies with lines as they come: a watch."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(self._request)
        async for line in lines:
            await response.write(line)
        await response.write_eof()
        return response

    def cut(self) -> web.StreamResponse:
        """Ends the connection without (more of) a reply."""
        if self._request.transport:
            self._request.transport.abort()
        raise asyncio.CancelledError

    def _send(self, body: bytes | None = None) -> Any:
        headers = {name: value for name, value in self._request.headers.items() if name.lower() not in HOPS}
        return self._session.request(
            self.call.method,
            self._request.path_qs,
            headers=headers,
            data=body or self.call.body or None,
            skip_auto_headers=("Content-Type", "Accept-Encoding"),
        )


class RefusedWatchError(Exception):
    """The server would not open the watch; its reply is the first argument."""


Fault: TypeAlias = Callable[[Exchange], Awaitable[web.StreamResponse]]


async def pass_on(exchange: Exchange) -> web.StreamResponse:
    """No fault."""
    if not exchange.call.is_watch:
        return await exchange.tell(await exchange.forward())
    try:
        return await exchange.stream(exchange.lines())
    except RefusedWatchError as refused:
        return await exchange.tell(refused.args[0])


class FaultProxy:
    """Listens on loopback while its context is open.

    Args:
        server: URL of the API server.
        tls: how its certificate is checked. Who asks is told by the headers that are passed on.

    `choose` says what happens to each call; `seen` is told of each one before that.
    """

    def __init__(self, server: str, tls: ssl.SSLContext) -> None:
        self.choose: Callable[[Call], Fault] = lambda _: pass_on
        self.seen: Callable[[Call], None] = lambda _: None
        self.url = ""
        self._server = server
        self._tls = tls
        self._running: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        limits = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(
            self._server, connector=connector, timeout=limits, auto_decompress=False
        )
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut_all()
        await self._runner.cleanup()
        await self._session.close()

    def cut_all(self) -> None:
        """Ends every request that is under way, the watches among them."""
        for task in self._running:
            task.cancel()

    def hang_up(self) -> None:
        """Ends every connection, those too that wait for a next request."""
        for connection in self._runner.server.connections if self._runner.server else ():
            connection.force_close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        query = {name: values[-1] for name, values in parse_qs(request.query_string).items()}
        call = Call(request.method, request.path, query, request.content_type, await request.read())
        task = asyncio.current_task()
        assert task  # noqa: S101  # for the type checker: a handler runs in one
        self._running.add(task)
        try:
            self.seen(call)
            return await self.choose(call)(Exchange(call, request, self._session))
        except (aiohttp.ClientError, ConnectionError):
            raise asyncio.CancelledError from None  # one side is gone: so is the other
        finally:
            self._running.discard(task)
