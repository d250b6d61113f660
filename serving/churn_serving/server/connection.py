"""One client's connection: uvicorn's, with a cap on the head, deadlines, and refusals in our shape.

uvicorn waits for a client as long as the client likes. Here a shared look at all connections (`deadlines`)
asks each what it waits for; a request that is served at once pays nothing for that, not even a timer.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from churn_serving.server.http import RequestError, error_reply

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn.server import ServerState

    from churn_serving.server.state import Serving

# A client that sends as slowly as this is slow, not hostile: each such part of a body buys it a second.
BYTES_PER_SECOND = 64 << 10
# How much and how long a client that was refused is heard out.
_LINGER_BYTES = 4 << 20
_LINGER_SECONDS = 2.0
_CLOSE = ((b"connection", b"close"),)


class Waits(Enum):
    """What a connection waits for."""

    IDLE = "the next request"
    HEAD = "the rest of a request's head, or the first byte of the first"
    BODY = "the rest of a request's body"
    REFUSED = "the rest of what was answered already"
    ANSWER = "our answer"
    READING = "the client to read what was sent"
    CLOSING = "the client to close"


class Connection(HttpToolsProtocol):
    """Serves one connection.

    Attributes:
        received: Bytes, since it was opened.
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
        self.received = 0
        self._unfinished_head: int | None = None
        self._last_head = 0
        self._refusal: RequestError | None = None
        self._lingers = False
        self._task: asyncio.Task[None] | None = None
        self._seen: tuple[Waits, int] | None = None
        self._since = 0.0
        self._received_then = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._serving.settings.max_connections:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self._lingers:
            if self.received - self._last_head > _LINGER_BYTES:
                self.transport.abort()
            return
        super().data_received(data)
        if not self._in_head():
            self._unfinished_head = None
        elif self._unfinished_head is None:
            self._unfinished_head = self.received
        elif self.received - self._unfinished_head > self._max_head:
            self._refuse(_head_too_large(self._max_head))

    def on_headers_complete(self) -> None:
        # More bytes than a head may have: they may be a body's. Only then are the lines added up.
        if self.received - self._last_head > self._max_head:
            lines = sum(len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + lines > self._max_head:
                self._refusal = _head_too_large(self._max_head)
                raise self._refusal
        self._last_head = self.received
        hosts = 0
        for name, _ in self.headers:
            if name == b"host":
                hosts += 1
        if hosts != 1 and (hosts or self.parser.get_http_version() == "1.1"):
            self._refusal = RequestError(400, "malformed_http", "a request must have one Host header")
            raise self._refusal
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
        self._task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's words)
        """What uvicorn calls for bytes that are no HTTP."""
        text = "the bytes received are not an HTTP/1.1 request"
        self._refuse(self._refusal or RequestError(400, "malformed_http", text))

    def look(self, now: float) -> None:
        """Note what the connection waits for, and end what has waited too long."""
        seen = self._waits()
        if seen != self._seen:
            self._seen, self._since, self._received_then = seen, now, self.received
        elif now - self._since > self._allowed(seen[0]):
            self._end(seen[0])

    def _waits(self) -> tuple[Waits, int]:
        """What for, and which one of them: another is another wait."""
        cycle, transport = self.cycle, self.transport
        if transport.is_closing() or self._lingers:
            return Waits.CLOSING, 0
        if unread := transport.get_write_buffer_size():
            return Waits.READING, unread
        if cycle is None or self._in_head():
            return Waits.HEAD, id(self.scope)
        if not cycle.response_complete:
            return (Waits.BODY if cycle.more_body else Waits.ANSWER), id(cycle)
        return (Waits.REFUSED if cycle.more_body else Waits.IDLE), id(cycle)

    def _allowed(self, waits: Waits) -> float:
        settings = self._serving.settings
        match waits:
            case Waits.IDLE:
                return settings.keep_alive_seconds
            case Waits.ANSWER:
                return settings.predict_seconds
            case Waits.CLOSING:
                return _LINGER_SECONDS
            case Waits.BODY:
                received = self.received - self._received_then
                return settings.receive_seconds + received / BYTES_PER_SECOND
            case _:
                return settings.receive_seconds

    def _end(self, waits: Waits) -> None:
        cycle = self.cycle
        match waits:
            case Waits.BODY | Waits.HEAD if self.flow.read_paused:  # it is we who do not read
                self._seen = None
            case Waits.BODY:
                text = "the body did not arrive in time"
                self._tell(RequestError(408, "request_timeout", text, headers=_CLOSE))
            case Waits.ANSWER if self._task is not None and not cycle.response_started:
                self._task.cancel()
            case Waits.HEAD if self.scope is not None:
                self._refuse(
                    RequestError(408, "request_timeout", "the request's head did not arrive in time")
                )
            case Waits.READING | Waits.CLOSING:
                self.transport.abort()
            case Waits.IDLE | Waits.REFUSED | Waits.HEAD:
                self.transport.close()

    def _in_head(self) -> bool:
        return self.scope is not (None if self.cycle is None else self.cycle.scope)

    def _tell(self, error: RequestError) -> None:
        """Have the application refuse the request it reads: it knows the route's shape of an error."""
        if self.cycle.response_started:
            self.transport.close()
            return
        self.cycle.scope["state"]["refusal"] = error
        self.cycle.message_event.set()

    def _refuse(self, error: RequestError) -> None:
        """Answer what never becomes a request, and hear the client out: a reset would lose it the answer."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            if cycle.more_body:
                error.headers = _CLOSE
                self._tell(error)
            return  # else the answer to the request before is the last on this connection
        reply = error_reply(error)
        self._serving.metrics.refuse(error.code, reply.status, len(reply.body))
        head = [
            STATUS_LINE[reply.status],
            b"content-type: ",
            reply.content_type,
            b"\r\nconnection: close\r\n",
        ]
        head += [b"content-length: %d\r\n\r\n" % len(reply.body)]
        self.transport.write(b"".join([*head, reply.body]))
        self._lingers = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()


def _head_too_large(most: int) -> RequestError:
    return RequestError(431, "head_too_large", f"the request's line and headers are larger than {most} bytes")
