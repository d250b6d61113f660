"""Bytes in and out of ASGI: bodies with a cap and a deadline, replies, and the one shape of an error."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from types import coroutine
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
    """Refuse bodies that do not say they are JSON: what a form or a compressed body means is not guessed.

    Raises:
        RequestError: 415.
    """
    content_type = encoding = b""
    for name, value in headers:
        if name == b"content-type":
            content_type = value
        elif name == b"content-encoding":
            encoding = value
    if content_type != JSON:
        media, _, parameters = content_type.lower().partition(b";")
        charset = parameters.strip().replace(b'"', b"").removeprefix(b"charset=")
        if media.strip() != JSON or charset not in {b"", b"utf-8", b"utf8"}:
            message = "send JSON in UTF-8, with the header Content-Type: application/json"
            raise RequestError(415, "unsupported_media_type", message)
    if encoding not in {b"", b"identity"}:
        raise RequestError(
            415, "unsupported_encoding", "send the body uncompressed, without Content-Encoding"
        )


async def read_body(scope: Scope, receive: Receive, *, max_bytes: int, seconds: float) -> bytes:
    """The whole body; never more than `max_bytes` of it in memory.

    Raises:
        RequestError: 413 where it is larger, 408 where it takes longer than `seconds`.
        ClientGoneError: The rest will not come.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:19]) > max_bytes:
            raise _too_large(max_bytes)
    # Nearly every body is here with its headers, and a deadline costs more than scoring a record does: it is
    # set only where there is something to wait for.
    first: Any = receive()
    try:
        waits_for = first.send(None)
    except StopIteration as received:
        message = received.value
        if (
            message["type"] == "http.request"
            and not message["more_body"]
            and len(message["body"]) <= max_bytes
        ):
            return message["body"]  # type: ignore[no-any-return]
        first = _already(message)
    else:
        first = _resume(first, waits_for)
    try:
        async with asyncio.timeout(seconds):
            return await _receive_all(first, receive, max_bytes)
    except TimeoutError:
        text = f"the body was not received within {seconds:g} seconds"
        raise RequestError(408, "request_timeout", text, headers=((b"connection", b"close"),)) from None


async def _already(message: dict[str, Any]) -> dict[str, Any]:
    return message


@coroutine
def _resume(started: Any, waits_for: Any) -> Generator[Any, Any, dict[str, Any]]:
    """The rest of a coroutine that was begun by hand and waits for `waits_for`."""
    try:
        while True:
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 (a deadline or the loop's end: the coroutine's to see)
                waits_for = started.throw(error)
            else:
                waits_for = started.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def _receive_all(first: Awaitable[dict[str, Any]], receive: Receive, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    message = await first
    while True:
        if message["type"] != "http.request":
            raise ClientGoneError
        body: bytes = message["body"]
        size += len(body)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message["more_body"]:
            return b"".join([*parts, body]) if parts else body
        parts.append(body)
        message = await receive()


async def send_reply(send: Send, reply: Reply, *, close: bool) -> None:
    """Send it; `close` asks the client not to use the connection again."""
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
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


def _too_large(max_bytes: int) -> RequestError:
    message = f"the body is larger than {max_bytes} bytes; send fewer records at once"
    return RequestError(_STATUS_TOO_LARGE, "body_too_large", message)
