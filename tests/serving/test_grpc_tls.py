"""gRPC over TLS, by a certificate that is replaced while it serves."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from churn_serving.server.oip import inference_pb2 as pb

from .asgi import Process, served
from .conftest import SAMPLE
from .test_grpc import WAIT, ask, connected
from .test_tls import Pair, eventually, serial_of
from .wire import wire


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture
def server(pair: Pair) -> Iterator[Process]:
    quick = {"CHURN_CONFIG_POLL_SECONDS": "0.05"}
    with served("--model", SAMPLE, "--grpc-port", 0, *pair.arguments, environment=quick) as process:
        yield process


def trusting(server: Process, certificate: bytes) -> grpc.Channel:
    options = [("grpc.use_local_subchannel_pool", 1)]
    credentials = grpc.ssl_channel_credentials(certificate)
    return grpc.secure_channel(f"127.0.0.1:{server.ready['grpc_port']}", credentials, options)


def live(channel: grpc.Channel) -> bool:
    return bool(pb.ServerLiveResponse.FromString(ask(channel, "ServerLive", b"")).live)


def serial_given(server: Process) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = socket.create_connection(("127.0.0.1", int(server.ready["grpc_port"])), timeout=WAIT)
    with plain, context.wrap_socket(plain) as opened:
        return serial_of(opened)


def test_a_renewed_certificate_is_given_to_who_comes_next_and_nobody_is_dropped(server: Process, pair: Pair):
    before = pair.certificate.read_bytes()
    with trusting(server, before) as kept:
        assert live(kept)
        after = pair.renew()
        eventually(lambda: serial_given(server) == after)
        assert live(kept)
        with trusting(server, pair.certificate.read_bytes()) as fresh:
            assert live(fresh)
        with trusting(server, before) as distrusting, pytest.raises(grpc.RpcError):
            live(distrusting)


def test_beside_a_certificate_nothing_is_answered_in_the_clear(server: Process):
    with connected(server) as plain, pytest.raises(grpc.RpcError) as error:
        ask(plain, "ServerLive", b"")
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_who_says_nothing_is_dropped(pair: Pair):
    hasty = {"CHURN_RECEIVE_SECONDS": "0.5"}
    with (
        served("--model", SAMPLE, "--grpc-port", 0, *pair.arguments, environment=hasty) as server,
        wire(server.ready["grpc_port"]) as silent,
    ):
        assert silent.closed()
