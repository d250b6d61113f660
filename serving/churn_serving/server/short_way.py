"""The traffic port's connection: requests that are there as a whole are answered without a task.

uvicorn starts a task for each request, with an event and two sends: more work than scoring a record. What is
there as a whole when it is read needs none of it: the application takes it at once, and its answer is one
write. Whatever is not such a request, or is refused by the application, goes uvicorn's way as if there were
no other. Limits, errors and counts are the application's on both.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from churn_serving.server.connection import Connection
from churn_serving.server.http import Reply, RequestError, reply_headers


class ScoringConnection(Connection):
    """Serves one connection; its application is a `TrafficApp`."""

    _held: list[bytes] | None = None
    """The body so far of a request that may go the short way; uvicorn has not begun it yet."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._answer_soon, self._paths = self.app.answer_soon, self.app.hot_paths

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._held is not None:  # the rest is still to come: there is somebody to wait for
            self._let_go()

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    def on_message_complete(self) -> None:
        if self._held is not None:
            if self._take(b"".join(self._held)):
                self._held = None
                return
            self._let_go()
        super().on_message_complete()

    def _begin_request(self) -> None:
        # A path with a query or an escape is no route's name: uvicorn's way reads it.
        parser = self.parser
        hot = self.url in self._paths and parser.get_method() == b"POST" and not parser.should_upgrade()
        if hot and self._is_free():
            self._held = []
        else:
            super()._begin_request()

    def refuse(self, error: RequestError) -> None:
        if self._held is not None:  # its body is malformed: it is refused as the request that it is
            self._let_go()
        super().refuse(error)

    def _is_free(self) -> bool:
        """Answers go out in the order of the requests, and none to a client that does not read."""
        return (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    def _take(self, body: bytes) -> bool:
        exchange = _Exchange(self)
        headers = self.scope["headers"]  # without what may have followed the body
        if not self._answer_soon(self.url.decode(), headers, body, exchange.send):
            return False
        self.cycle = exchange  # type: ignore[assignment]
        return True

    def _let_go(self) -> None:
        held, self._held = self._held or [], None
        if self.transport.is_closing():
            return
        super()._begin_request()
        for part in held:
            super().on_body(part)

    @property
    def in_head(self) -> bool:
        return self._held is None and super().in_head


class _Exchange:
    """A request on the short way, where a connection keeps the one that it is busy with."""

    message_event = asyncio.Event()  # set when the connection is lost; nobody waits for it
    more_body = False

    def __init__(self, connection: ScoringConnection) -> None:
        self._connection = connection
        self.scope = connection.scope
        self.keep_alive = connection.parser.should_keep_alive() and connection.http_version == "1.1"
        self.response_started = self.response_complete = self.disconnected = False

    def send(self, reply: Reply, *, close: bool) -> None:
        """Send the whole answer at once."""
        self.response_started = self.response_complete = True
        connection = self._connection
        if self.disconnected or connection.transport.is_closing():
            return
        close = not self.keep_alive or (close and not connection.has_more)
        headers = connection.server_state.default_headers + reply_headers(reply, close=close)
        lines = [b"%b: %b\r\n" % header for header in headers]
        connection.transport.write(b"".join([STATUS_LINE[reply.status], *lines, b"\r\n", reply.body]))
        if close:
            connection.transport.close()
        connection.on_response_complete()
