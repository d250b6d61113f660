"""One client's connection: uvicorn's, with a strict and bounded head, deadlines, and refusals in our shape.

What a client may send is bounded while it comes: uvicorn and its parser keep whatever they get.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from churn_serving.server.deadlines import Patience
from churn_serving.server.http import CLOSE, RequestError, error_reply

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sized

    from uvicorn import Config
    from uvicorn.server import ServerState

    from churn_serving.server.state import Serving

# So much a client that was refused is heard out.
_LINGER_BYTES = 4 << 20
_MAX_TRAILERS = 100
_REQUEST_SECONDS = 2.0
# Requests that wait for the answers to those before them. One read holds no more of any that score.
_MAX_AHEAD = 2048
# RFC 3986's characters of a host, and its port.
_HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]*", re.ASCII).fullmatch
_VERSIONS = frozenset({"1.0", "1.1"})
_OFFERS = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Connection(HttpToolsProtocol):
    """Serves one connection.

    Attributes:
        received: Bytes, since it was opened.
        received_of_bodies: How many of them were bodies' own. Not counted: bodies that came with their head.
        requests: Heads that were whole, since then.
        lingers: Refused: what still comes is not read.
        task: Answers the request.
    """

    def __init__(
        self,
        serving: Serving,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._serving = serving
        self._max_head = serving.settings.max_head_bytes
        self.headers = []
        self.received = self.received_of_bodies = 0
        self._unfinished_head: int | None = None
        self._last_head = self._last_body = 0
        self.http_version = "1.1"
        self.requests = 0
        self._refusal: RequestError | None = None
        self.lingers = False
        self.task: asyncio.Task[None] | None = None
        self._patience = Patience(self, serving.settings)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        if len(self.connections) > self._serving.settings.max_connections:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # What points back at this: else each connection stays until the next collection, which is seldom.
        del self._patience
        self.cycle = self.scope = self.task = None  # type: ignore[assignment]
        self.pipeline.clear()

    def shutdown(self) -> None:
        if self.received and not self.in_head:
            super().shutdown()
        else:  # just opened, perhaps: a request may be on its way
            self.loop.call_later(_REQUEST_SECONDS, super().shutdown)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.lingers:
            if self.received - self._last_head > _LINGER_BYTES:
                self.transport.abort()
            return
        rest: bytes | memoryview = data
        while rest and not self.lingers:
            rest = self._read(rest)
        if not self.in_head:
            self._unfinished_head = None
            if self._is_more_than_a_body():
                text = "too much was sent around the body: trailers, or parameters of its chunks"
                self.refuse(RequestError(400, "malformed_http", text))
        elif self._unfinished_head is None:
            self._unfinished_head = self.received
        elif self.received - self._unfinished_head > self._max_head:
            self.refuse(_head_too_large(self._max_head))

    def _read(self, data: bytes | memoryview) -> bytes | memoryview:
        """Have the parser read; what it left is returned."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            return self._go_on_as_before(memoryview(data)[upgrade.args[0] :])
        except HttpParserError:
            text = "the bytes received are not an HTTP/1.1 request"
            self.refuse(self._refusal or RequestError(400, "malformed_http", text))
        return b""

    def _is_more_than_a_body(self) -> bool:
        if len(self.headers) > _MAX_TRAILERS:
            return True
        came = max(self._last_head, self._last_body)
        return self.received - came > self._max_head and self.cycle is not None and self.cycle.more_body

    def look(self, now: float) -> None:
        """End what has waited too long; `now` is the loop's time."""
        self._patience.look(now)

    def on_headers_complete(self) -> None:
        # More bytes than a head may have: they may be a body's. Only then are the lines added up.
        if self.received - self._last_head > self._max_head:
            lines = sum(len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + lines > self._max_head:
                self._refusal = _head_too_large(self._max_head)
                raise self._refusal
        self._last_head = self.received
        self.requests += 1
        self._check_head()
        if len(self.pipeline) >= _MAX_AHEAD:
            self._refusal = RequestError(400, "malformed_http", "too many requests were sent ahead")
            raise self._refusal
        self._begin_request()
        # What follows a chunked body is no header: it could say whose request this is.
        self.headers = []

    def _begin_request(self) -> None:
        self.scope["state"]["connection"] = self
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.received_of_bodies += len(body)
        self._last_body = self.received
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.cycle is not None and not self.parser.should_upgrade():
            self.cycle.more_body = False  # also where the answer came first

    def on_response_complete(self) -> None:
        # As uvicorn's, without the timer that it starts after each reply.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _should_upgrade(self) -> bool:
        return True  # has uvicorn wait for `_go_on_as_before`

    def _go_on_as_before(self, rest: memoryview) -> bytes | memoryview:
        """Read a head that offers another protocol again, without the offer: the parser skips its body.

        Java's client, among others, offers HTTP/2 with every first request.
        """
        if self.scope["method"] == "CONNECT":
            self.refuse(RequestError(400, "malformed_http", "this server is no proxy"))
            return b""
        lines = [b"%s %s HTTP/%s" % (self.scope["method"].encode(), self.url, self.http_version.encode())]
        lines += [b"%s: %s" % line for line in self.scope["headers"] if line[0] not in _OFFERS]
        self.parser = HttpRequestParser(self)
        self._read(b"\r\n".join([*lines, b"", b""]))
        return rest

    def _check_head(self) -> None:
        self.http_version = version = self.parser.get_http_version()
        if version not in _VERSIONS:
            self._refusal = RequestError(400, "malformed_http", "this server speaks HTTP/1.1 and 1.0")
            raise self._refusal
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
                if not _HOST(value):
                    hosts += 1
            elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
                text = "the only Transfer-Encoding is chunked, and HTTP/1.0 has none"
                self._refusal = RequestError(400, "malformed_http", text)
                raise self._refusal
        if hosts != 1 and (hosts or version == "1.1"):
            self._refusal = RequestError(400, "malformed_http", "a request must have one valid Host header")
            raise self._refusal

    @property
    def in_head(self) -> bool:
        """Whether a request's head has begun and not ended."""
        return self.scope is not (None if self.cycle is None else self.cycle.scope)

    @property
    def has_more(self) -> bool:
        """Whether more than the request that is answered has come: that answer is not the last."""
        return bool(self.pipeline) or self.in_head

    def tell(self, error: RequestError) -> None:
        """Have the application refuse the request it reads: it knows the route's shape of an error."""
        if self.cycle.response_started:
            self.transport.close()
            return
        self.cycle.scope["state"]["refusal"] = error
        self.cycle.message_event.set()

    def refuse(self, error: RequestError) -> None:
        """Answer what never becomes a request, and hear the client out: a reset would lose it the answer."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            if cycle.more_body:
                error.headers = CLOSE
                self.tell(error)
            return  # else the answer to the request before is the last on this connection
        if cycle is not None and cycle.more_body:
            self.transport.close()  # it was answered already
            return
        reply = error_reply(error)
        self._serving.metrics.refuse(error.code, reply.status, len(reply.body))
        head = b"content-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        head %= reply.content_type, len(reply.body)
        self.transport.write(STATUS_LINE[reply.status] + head + reply.body)
        self.lingers = True
        if self.transport.can_write_eof():  # TLS cannot: its client learns from the header
            self.transport.write_eof()


class _Flow(FlowControl):
    """Reads nothing while whole requests wait: each answer would let more in than it takes out."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


def _head_too_large(most: int) -> RequestError:
    return RequestError(431, "head_too_large", f"the request's line and headers are larger than {most} bytes")
