"""One client's connection: uvicorn's, with a strict and bounded head, deadlines, and refusals in our shape.

What a client may send is bounded while it comes: uvicorn and its parser keep whatever they get.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from churn_serving.server.deadlines import Patience
from churn_serving.server.http import CLOSE, RequestError, error_reply

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn.server import ServerState

    from churn_serving.server.state import Serving

# So much a client that was refused is heard out.
_LINGER_BYTES = 4 << 20
_MAX_TRAILERS = 100
_FIRST_REQUEST_SECONDS = 2.0
# RFC 3986's characters of a host, and its port.
_HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]*", re.ASCII).fullmatch
_OFFERS = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Connection(HttpToolsProtocol):
    """Serves one connection.

    Attributes:
        received: Bytes, since it was opened.
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
        self.received = 0
        self._unfinished_head: int | None = None
        self._last_head = 0
        self.requests = 0
        self._refusal: RequestError | None = None
        self.lingers = False
        self.task: asyncio.Task[None] | None = None
        self._patience = Patience(self, serving.settings)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._serving.settings.max_connections:
            transport.abort()

    def shutdown(self) -> None:
        if self.received:
            super().shutdown()
        else:  # just opened, perhaps: the first request may be on its way
            self.loop.call_later(_FIRST_REQUEST_SECONDS, super().shutdown)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self.lingers:
            if self.received - self._last_head > _LINGER_BYTES:
                self.transport.abort()
            return
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._go_on_as_before(data[upgrade.args[0] :])
        except HttpParserError:
            text = "the bytes received are not an HTTP/1.1 request"
            self.refuse(self._refusal or RequestError(400, "malformed_http", text))
        if not self.in_head:
            self._unfinished_head = None
            if len(self.headers) > _MAX_TRAILERS:
                self.refuse(RequestError(400, "malformed_http", "too many trailers follow the body"))
        elif self._unfinished_head is None:
            self._unfinished_head = self.received
        elif self.received - self._unfinished_head > self._max_head:
            self.refuse(_head_too_large(self._max_head))

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
        self._begin_request()
        # What follows a chunked body is no header: it could say whose request this is.
        self.headers = []

    def _begin_request(self) -> None:
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        # As uvicorn's, without the timer that it starts after each reply.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _should_upgrade(self) -> bool:
        return True  # has uvicorn wait for `_go_on_as_before`

    def _go_on_as_before(self, rest: bytes) -> None:
        """Read a request that offers another protocol again, without the offer: the parser skips its body.

        Java's client, among others, offers HTTP/2 with every first request.
        """
        if self.scope["method"] == "CONNECT":
            self.refuse(RequestError(400, "malformed_http", "this server is no proxy"))
            return
        lines = [b"%s %s HTTP/1.1" % (self.scope["method"].encode(), self.url)]
        lines += [b"%s: %s" % line for line in self.scope["headers"] if line[0] not in _OFFERS]
        self.parser = HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _check_head(self) -> None:
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
                if not _HOST(value):
                    hosts += 1
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self._refusal = RequestError(400, "malformed_http", "the only Transfer-Encoding is chunked")
                raise self._refusal
        if hosts != 1 and (hosts or self.parser.get_http_version() == "1.1"):
            self._refusal = RequestError(400, "malformed_http", "a request must have one valid Host header")
            raise self._refusal

    @property
    def in_head(self) -> bool:
        """Whether a request's head has begun and not ended."""
        return self.scope is not (None if self.cycle is None else self.cycle.scope)

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
        reply = error_reply(error)
        self._serving.metrics.refuse(error.code, reply.status, len(reply.body))
        head = b"content-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        head %= reply.content_type, len(reply.body)
        self.transport.write(STATUS_LINE[reply.status] + head + reply.body)
        self.lingers = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()


def _head_too_large(most: int) -> RequestError:
    return RequestError(431, "head_too_large", f"the request's line and headers are larger than {most} bytes")
