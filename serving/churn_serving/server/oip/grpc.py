"""The protocol over gRPC, on a port of its own: validator, limits, deadlines and counts are those of HTTP.

Imported only where that port is asked for.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

# Before gRPC is imported: it writes to standard error what clients do wrong.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from churn_serving.errors import ConfigInvalidError
from churn_serving.logs import log
from churn_serving.server.access.caller import ANYBODY
from churn_serving.server.counting import count
from churn_serving.server.failures import too_late, unexpected
from churn_serving.server.http import Header, RequestError, overloaded
from churn_serving.server.oip import inference_pb2 as pb
from churn_serving.server.oip.infer import find_routes, infer, read
from churn_serving.server.oip.messages import (
    check_fields,
    read_asked,
    read_message,
    read_tensors,
    write_reply,
)
from churn_serving.server.oip.pages import describe_model, describe_server
from churn_serving.server.oip.relay import Relay
from churn_serving.server.state import Serving
from churn_serving.settings import Settings

if TYPE_CHECKING:
    import socket

SERVICE = "inference.GRPCInferenceService"
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
# Each column of a wide model is an input, and its raw contents.
_MAX_FIELDS = 20_000
_COME_AGAIN = (("grpc-retry-pushback-ms", "1000"),)
# A status travels among the headers, percent-encoded; clients take 8 KiB of them.
_MAX_TEXT, _MAX_ENCODED_TEXT = 4000, 1300

Answer = Callable[[Serving, bytes], Awaitable[bytes]]


class GrpcPort:
    """Serves the gRPC port.

    Attributes:
        number: The port.
    """

    def __init__(self, serving: Serving, listener: "socket.socket") -> None:
        """Nothing is answered yet.

        Raises:
            ConfigInvalidError: There is no place for the socket behind the port.
        """
        settings = serving.settings
        self._settings = settings
        self.number: int = listener.getsockname()[1]
        self._calls, self._health = _Calls(serving), health.HealthServicer()
        try:
            self._directory = TemporaryDirectory(prefix="churn-grpc-")  # only this user may look into it
        except OSError as error:
            text = f"gRPC needs a directory for temporary files, such as /tmp: {error.strerror}"
            raise ConfigInvalidError(text) from None
        self._behind = Path(self._directory.name) / "server"
        self._server = self._build_server()
        self._relay = Relay(listener, self._behind, settings, serving.certificate)

    async def serve(self, draining: asyncio.Event, closing: asyncio.Event) -> None:
        """Answer until told to leave, and for `drain_seconds` after; then finish what is in flight.

        Args:
            draining: From then on the health service says not to come here.
            closing: Nobody waits for the window's end any more.
        """
        settings = self._settings
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        await self._relay.open()
        renewing = asyncio.create_task(self._renew())
        await draining.wait()
        await self._health.enter_graceful_shutdown()
        self._relay.turn_away()
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), settings.drain_seconds)
        await self._relay.close(settings.deadline_seconds - settings.drain_seconds)
        renewing.cancel()
        await self._server.stop(None)
        self._directory.cleanup()

    async def _renew(self) -> None:
        """Begin anew where the server ends by itself, for ever.

        gRPC's ends for all its clients where one of them asks for a path that is no UTF-8.
        """
        while True:
            with suppress(UnicodeDecodeError):
                await asyncio.shield(self._server.wait_for_termination())
            log.error("the gRPC server ended by itself, and begins anew")
            self._server = self._build_server()
            await self._server.start()

    def _build_server(self) -> Any:
        server = grpc.aio.server(options=_options(self._settings))
        handlers: dict[str, Any] = {
            # Of a stream, so that a message that does not arrive in time has a deadline; clients send one.
            name: grpc.stream_unary_rpc_method_handler(partial(self._calls.answer, name, answer))
            for name, answer in _METHODS.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_insecure_port(f"unix:{self._behind}")
        return server


class _Calls:
    """What all RPCs have in common: limits, deadlines, counts, and what is wrong as a status."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._answering = 0

    async def answer(self, name: str, answer: Answer, _messages: Any, context: Any) -> bytes:
        started = perf_counter()
        message = reply = b""
        caller, error = ANYBODY, None
        try:
            caller = self._serving.gate.identify(_headers(context))
            caller.spend()
            message, reply = await self._answer(answer, context)
        except RequestError as refused:
            self._serving.metrics.errors[refused.code] += 1
            error = refused
        except TimeoutError:
            error = too_late(self._serving)
        except Exception as failure:  # noqa: BLE001 (the last resort: whatever it is, the client gets our words)
            error = unexpected(self._serving, failure)
        status = HTTPStatus.OK if error is None else error.status
        route, seconds = f"/{SERVICE}/{name}", perf_counter() - started
        received, sent = len(message), len(reply)
        count(self._serving, route, "GRPC", status, caller, seconds=seconds, received=received, sent=sent)
        if error is not None:
            again = _COME_AGAIN if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
            await context.abort(_CODES.get(status, grpc.StatusCode.INTERNAL), _tell(error), again)
        return reply

    async def _answer(self, answer: Answer, context: Any) -> tuple[bytes, bytes]:
        settings = self._serving.settings
        if self._answering >= settings.max_concurrent:
            raise overloaded("more requests than this server answers at once")
        self._answering += 1
        try:
            message = await _receive(context, settings.receive_seconds)
            async with asyncio.timeout(settings.predict_seconds):
                return message, await answer(self._serving, message)
        finally:
            self._answering -= 1


def _headers(context: Any) -> list[Header]:
    """The metadata as HTTP's headers; values are text, but for those whose name says they are bytes."""
    metadata = context.invocation_metadata() or ()
    return [
        (name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in metadata
    ]


async def _receive(context: Any, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            message = await context.read()
    except TimeoutError:
        raise RequestError(408, "request_timeout", "the message did not arrive in time") from None
    if message is grpc.aio.EOF:
        raise RequestError(400, "malformed_message", "the call has no message")
    return message  # type: ignore[no-any-return]


async def _live(_serving: Serving, _message: bytes) -> bytes:
    return pb.ServerLiveResponse(live=True).SerializeToString()


async def _ready(serving: Serving, _message: bytes) -> bytes:
    return pb.ServerReadyResponse(ready=serving.ready).SerializeToString()


async def _model_ready(serving: Serving, message: bytes) -> bytes:
    request = read_message(pb.ModelReadyRequest, message)
    find_routes(serving.table, request.name, request.version)
    return pb.ModelReadyResponse(ready=serving.ready).SerializeToString()


async def _server_metadata(_serving: Serving, _message: bytes) -> bytes:
    return pb.ServerMetadataResponse(**describe_server()).SerializeToString()


async def _model_metadata(serving: Serving, message: bytes) -> bytes:
    request = read_message(pb.ModelMetadataRequest, message)
    described = describe_model(find_routes(serving.table, request.name, request.version))
    return pb.ModelMetadataResponse(**described).SerializeToString()


async def _infer(serving: Serving, message: bytes) -> bytes:
    settings = serving.settings
    small = len(message) <= settings.inline_bytes

    def work() -> Any:
        check_fields(message, _MAX_FIELDS)
        request = read_message(pb.ModelInferRequest, message)
        table = find_routes(serving.table, request.model_name, request.model_version)
        return request, read_asked(request), read(serving, table, read_tensors(request, settings))

    request, wanted, asked = work() if small else await serving.aside(work)
    return write_reply(request, await infer(serving, asked, wanted, small=small))


_METHODS: dict[str, Answer] = {
    "ServerLive": _live,
    "ServerReady": _ready,
    "ModelReady": _model_ready,
    "ServerMetadata": _server_metadata,
    "ModelMetadata": _model_metadata,
    "ModelInfer": _infer,
}


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_metadata_size", settings.max_head_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_head_bytes),
        ("grpc.max_concurrent_streams", settings.max_concurrent),
        ("grpc.max_connection_idle_ms", round(settings.keep_alive_seconds * 1000)),
        ("grpc.server_handshake_timeout_ms", round(settings.receive_seconds * 1000)),
        # Plain messages only: what a compressed one unpacks to has no limit in gRPC.
        ("grpc.compression_enabled_algorithms_bitset", 1),
    ]


def _tell(error: RequestError) -> str:
    told = [f"record {fault.record}, {fault.column!r}: {fault.message}" for fault in error.details]
    text = "; ".join([error.message, *told])
    if text.isascii():
        return text[:_MAX_TEXT]
    return text.encode()[:_MAX_ENCODED_TEXT].decode(errors="ignore")
