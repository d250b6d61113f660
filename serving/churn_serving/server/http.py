"""Bytes in and out of ASGI: bodies with a cap and a deadline, replies, and the one shape of an error."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from churn_serving.features import Fault

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"
CLOSE: tuple[Header, ...] = ((b"connection", b"close"),)
_STATUS_TOO_LARGE = 413

encode_json = msgspec.json.Encoder().encode


class Reply(Struct, frozen=True):
    """An answer, complete before its first byte is sent."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[Header, ...] = ()


class RequestError(Exception):
    """A request that is refused. Neither message nor details hold a value that the customer sent.

    Attributes:
        code: For programs, for example `invalid_records`.
        details: At most 20.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Sequence[Fault] = (),
        headers: tuple[Header, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.details, self.headers = details, headers


class Pending:
    """Bytes of bodies that are still arriving, of all connections together.

    Large bodies that trickle in side by side would fill the memory, each of them within its own limit.
    """

    def __init__(self, max_bytes: int) -> None:
        self.bytes = 0
        self._max = max_bytes

    def add(self, count: int) -> None:
        """Raises: RequestError: 503, they would be too many."""
        self.bytes += count
        if self.bytes > self._max:
            raise overloaded("too many large requests arrive at once")


class ClientGoneError(Exception):
    """The client closed the connection before its request was whole."""


def error_reply(error: RequestError) -> Reply:
    """`{"error": {"code", "message", "details"}}`, at most 16 KiB."""
    details = [fault._asdict() for fault in error.details]
    body = encode_json({"error": {"code": error.code, "message": error.message, "details": details}})
    return Reply(error.status, body, headers=error.headers)


def plain_error_reply(error: RequestError) -> Reply:
    """`{"error": message}`, as the V1 protocol has it, with the details told in words."""
    told = [f"record {fault.record}, {fault.column!r}: {fault.message}" for fault in error.details]
    return Reply(
        error.status, encode_json({"error": "; ".join([error.message, *told])}), headers=error.headers
    )


def check_json(headers: Sequence[Header]) -> None:
    """Refuse bodies that do not say they are JSON: what a form means is not guessed.

    Raises:
        RequestError: 415.
    """
    content_type = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value if not content_type else b"two"
    if content_type != JSON:
        media, _, parameters = content_type.lower().partition(b";")
        charset = parameters.strip().replace(b'"', b"").removeprefix(b"charset=")
        if media.strip() != JSON or charset not in {b"", b"utf-8", b"utf8"}:
            message = "send JSON in UTF-8, with the header Content-Type: application/json"
            raise RequestError(415, "unsupported_media_type", message)


async def read_body(scope: Scope, receive: Receive, pending: Pending, *, max_bytes: int) -> bytes:
    """The whole body; never more than `max_bytes` of it in memory.

    Raises:
        RequestError: 413 where it is larger, 408 where it takes too long, 503 where too many arrive at once.
        ClientGoneError: The rest will not come.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:19]) > max_bytes:
            raise _too_large(max_bytes)
    # Nearly every body is here with its headers.
    body, more = await receive_part(scope, receive)
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return await _receive_rest(body, scope, receive, pending, max_bytes) if more else body


async def receive_part(scope: Scope, receive: Receive) -> tuple[bytes, bool]:
    """The next part of the body, maybe empty, and whether there are more.

    Raises:
        RequestError: What its connection found wrong meanwhile: it is too slow, or no HTTP.
        ClientGoneError: The rest will not come.
    """
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGoneError
    more: bool = message["more_body"]
    if more and (refusal := scope.get("state", {}).get("refusal")):
        raise refusal
    return message["body"], more


async def _receive_rest(
    first: bytes, scope: Scope, receive: Receive, pending: Pending, max_bytes: int
) -> bytes:
    parts = [first]
    size, more = len(first), True
    try:
        pending.add(size)
        while more:
            part, more = await receive_part(scope, receive)
            parts.append(part)
            size += len(part)
            pending.add(len(part))
            if size > max_bytes:
                raise _too_large(max_bytes)
        return b"".join(parts)
    finally:
        pending.bytes -= size


def reply_headers(reply: Reply, *, close: bool) -> list[Header]:
    """The headers to send it with; `close` asks the client not to use the connection again."""
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
    ]
    if close:
        headers.append((b"connection", b"close"))
    return headers


async def send_reply(send: Send, reply: Reply, *, close: bool) -> None:
    """Send it; `close` asks the client not to use the connection again."""
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": reply_headers(reply, close=close),
        }
    )
    await send({"type": "http.response.body", "body": reply.body})


async def collect_reply(app: App, scope: Scope) -> Reply:
    """What another ASGI application answers to a request without a body."""
    started: dict[str, Any] = {}
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    headers = dict(started["headers"])
    headers.pop(b"content-length", None)
    content_type = headers.pop(b"content-type", JSON)
    return Reply(started["status"], b"".join(parts), content_type, tuple(headers.items()))


def overloaded(message: str) -> RequestError:
    """503, with the time after which to come again."""
    return RequestError(503, "overloaded", message, headers=((b"retry-after", b"1"),))


def _too_large(max_bytes: int) -> RequestError:
    message = f"the body is larger than {max_bytes} bytes; send fewer records at once"
    return RequestError(_STATUS_TOO_LARGE, "body_too_large", message)
