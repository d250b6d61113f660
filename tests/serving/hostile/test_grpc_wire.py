"""Bytes at the gRPC port that no client library sends: the port answers the next client as before."""

import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import grpc
import pytest
from tests.serving.asgi import Process, served
from tests.serving.conftest import SAMPLE
from tests.serving.wire import wire

from churn_serving.server.oip import inference_pb2 as pb

_SERVICE = "/inference.GRPCInferenceService"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _CONTINUATION = 0, 1, 3, 4, 6, 9
_END_STREAM, _END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def literal(name: bytes, value: bytes) -> bytes:
    """A header, in HPACK's plainest words; texts of less than 127 bytes."""
    return b"\0" + b"".join(bytes([len(text)]) + text for text in (name, value))


def head(path: bytes = f"{_SERVICE}/ModelInfer".encode(), *more: tuple[bytes, bytes]) -> bytes:
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
    usual = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    return b"".join(literal(*field) for field in (*fields, *usual, *more))


def call(
    message: bytes = b"",
    *more: tuple[bytes, bytes],
    path: bytes = f"{_SERVICE}/ModelInfer".encode(),
    compressed: int = 0,
    length: int | None = None,
) -> bytes:
    content = struct.pack(">BI", compressed, len(message) if length is None else length) + message
    headers = frame(_HEADERS, _END_HEADERS, 1, head(path, *more))
    return _OPENED + headers + frame(_DATA, _END_STREAM, 1, content)


_OPENED = _PREFACE + frame(_SETTINGS, 0, 0, b"")


@pytest.fixture(scope="module")
def rpcs() -> Iterator[Process]:
    with served("--model", SAMPLE, "--grpc-port", 0, environment={"CHURN_RECEIVE_SECONDS": "0.5"}) as process:
        yield process


def is_live(port: int) -> bool:
    """What the server says; a call that was under way where all calls ended is made again."""
    deadline = time.monotonic() + 60
    options = [("grpc.use_local_subchannel_pool", 1)]
    while time.monotonic() < deadline:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel, suppress(grpc.RpcError):
            answer = channel.unary_unary(f"{_SERVICE}/ServerLive")(b"", timeout=20)
            return pb.ServerLiveResponse.FromString(answer).live
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(call(path=b"/\xff"), id="a path that is no UTF-8"),
        pytest.param(call(path=b""), id="no path"),
        pytest.param(call(path=b"no slash"), id="a path without a slash"),
        pytest.param(call(b"abc", compressed=1), id="compressed, not said how"),
        pytest.param(call(b"abc", (b"grpc-encoding", b"gzip"), compressed=1), id="compressed"),
        pytest.param(call(b"abc", compressed=255), id="a flag that is none"),
        pytest.param(call(b"abc", length=2**32 - 1), id="a length of 4 GiB"),
        pytest.param(call(b"abc", length=1), id="a length that is short"),
        pytest.param(call(b"abc", (b"grpc-timeout", b"-1x")), id="a deadline that is none"),
        pytest.param(call(b"abc", (b"a-bin", b"!!!")), id="bytes that are no base64"),
        pytest.param(call(b"abc", (b"authorization", b"\xff\xfe")), id="a header that is no text"),
        pytest.param(_OPENED + b"\xff" * 5000, id="garbage"),
        pytest.param(b"\x16\x03\x01\x02\0" + b"a" * 600, id="TLS"),
        pytest.param(b"POST /predict HTTP/1.1\r\nHost: x\r\n\r\n", id="HTTP/1.1"),
        pytest.param(_OPENED + frame(_SETTINGS, 0, 0, b"") * 50_000, id="settings without end"),
        pytest.param(_OPENED + frame(_PING, 0, 0, bytes(8)) * 50_000, id="pings without end"),
        pytest.param(
            _OPENED
            + b"".join(
                frame(_HEADERS, _END_HEADERS, stream, head()) + frame(_RESET, 0, stream, bytes(4))
                for stream in range(1, 20_001, 2)
            ),
            id="calls begun and dropped",
        ),
        pytest.param(
            _OPENED
            + frame(_HEADERS, 0, 1, head())
            + frame(_CONTINUATION, 0, 1, literal(b"a", b"b" * 100)) * 20_000,
            id="headers without end",
        ),
        pytest.param(
            _OPENED + frame(_HEADERS, _END_HEADERS, 1, head()) + frame(_DATA, 0, 1, b"") * 50_000,
            id="empty parts without end",
        ),
    ],
)
def test_the_port_answers_the_next_client(rpcs: Process, data: bytes):
    with wire(rpcs.ready["grpc_port"], seconds=1) as client, suppress(OSError):
        client.send(data)
        client.read(1)
    assert is_live(rpcs.ready["grpc_port"])
    assert rpcs.process.poll() is None
