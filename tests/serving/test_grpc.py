"""The V2 protocol over gRPC against the real server: what HTTP answers, its limits, and how it leaves."""

import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from churn_serving.keyfile import add_key
from churn_serving.model import load_model
from churn_serving.server.oip import inference_pb2 as pb

from .asgi import Process, run, served
from .conftest import SAMPLE

SERVICE = "inference.GRPCInferenceService"
WAIT = 60
INLINE_BYTES = 1000
# Who is to be in flight is not hurried.
PATIENT = {
    "CHURN_RECEIVE_SECONDS": "300",
    "CHURN_DRAIN_SECONDS": "300",
    "CHURN_DEADLINE_SECONDS": "600",
}
COLUMNS: dict[str, tuple[str, str, list[Any]]] = {
    "age": ("FP32", "fp32_contents", [41.5, 19.0]),
    "balance": ("FP64", "fp64_contents", [50_000_900.0, 5e7]),
    "plan": ("BYTES", "bytes_contents", [b"basic", b"pro, yearly"]),
    "newsletter": ("BOOL", "bool_contents", [True, False]),
    "visits": ("UINT8", "uint_contents", [3, 29]),
    "region": ("BYTES", "bytes_contents", ["東京".encode(), b"never seen"]),
}


@pytest.fixture(scope="module")
def server(shop: Path) -> Iterator[Process]:
    limits = {
        "CHURN_MAX_RECORDS": "50",
        "CHURN_MAX_BODY_BYTES": "200000",
        "CHURN_INLINE_BYTES": str(INLINE_BYTES),
    }
    with served("--model", shop, "--grpc-port", 0, environment=limits) as process:
        yield process


@pytest.fixture
def channel(server: Process) -> Iterator[grpc.Channel]:
    with connected(server) as opened:
        yield opened


@contextmanager
def connected(server: Process) -> Iterator[grpc.Channel]:
    # A connection of its own: by default all channels to one address share one.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.ready['grpc_port']}", options) as opened:
        yield opened


def ask(channel: grpc.Channel, method: str, message: bytes, timeout: float = WAIT) -> bytes:
    return channel.unary_unary(f"/{SERVICE}/{method}")(message, timeout=timeout)  # type: ignore[no-any-return]


def infer(channel: grpc.Channel, request: pb.ModelInferRequest) -> dict[str, bytes]:
    """The raw outputs by name."""
    reply = pb.ModelInferResponse.FromString(ask(channel, "ModelInfer", request.SerializeToString()))
    names = [output.name for output in reply.outputs]
    return dict(zip(names, reply.raw_output_contents, strict=True))


def refused(channel: grpc.Channel, message: bytes, method: str = "ModelInfer") -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as error:
        ask(channel, method, message)
    return error.value.code().name, error.value.details()


def request(*, model: str = "shop", times: int = 1) -> pb.ModelInferRequest:
    """Two customers with typed contents, so many times."""
    made = pb.ModelInferRequest(model_name=model)
    for name, (datatype, field, values) in COLUMNS.items():
        tensor = made.inputs.add(name=name, datatype=datatype, shape=[2 * times])
        getattr(tensor.contents, field).extend(values * times)
    return made


def broken(change: Callable[[pb.ModelInferRequest], Any]) -> bytes:
    made = request()
    change(made)
    return made.SerializeToString()


def first_error(call: Callable[[], Any]) -> Any:
    """The error of the first call that fails."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        try:
            call()
        except grpc.RpcError as error:
            return error
    raise TimeoutError("no call failed")


def counted(server: Process, line: str) -> float:
    text = httpx.get(f"{server.metrics_url}/metrics", timeout=WAIT).text
    return float(next((row.split()[-1] for row in text.splitlines() if row.startswith(line)), 0))


def test_typed_contents_say_what_the_same_tensors_say_over_http(server: Process, channel: grpc.Channel):
    inputs = [
        {"name": name, "datatype": datatype, "shape": [2],
         "data": [each.decode() if isinstance(each, bytes) else each for each in values]}
        for name, (datatype, _, values) in COLUMNS.items()
    ]  # fmt: skip
    parameters = {"binary_data_output": True}
    body = {"inputs": inputs, "parameters": parameters}
    told = httpx.post(f"{server.url}/v2/models/shop/infer", json=body, timeout=WAIT)
    length = int(told.headers["inference-header-content-length"])
    assert b"".join(infer(channel, request()).values()) == told.content[length:]


def test_a_category_may_be_its_position_in_any_whole_type(shop: Path, channel: grpc.Channel):
    usual = infer(channel, request())
    (plan,) = [each for each in load_model(shop).manifest.features if each.name == "plan"]
    for datatype, field in (
        ("INT8", "int_contents"),
        ("INT64", "int64_contents"),
        ("UINT64", "uint64_contents"),
    ):
        made = request()
        tensor = made.inputs[2]
        tensor.datatype = datatype
        tensor.ClearField("contents")
        getattr(tensor.contents, field).extend(
            plan.categories.index(text.decode()) for text in COLUMNS["plan"][2]
        )
        assert infer(channel, made) == usual


def test_a_large_message_is_answered_as_a_small_one(channel: grpc.Channel):
    """Above `inline_bytes` it is read and scored on another thread."""
    small, large = infer(channel, request()), infer(channel, request(times=20))
    assert request().ByteSize() < INLINE_BYTES < request(times=20).ByteSize()
    assert large == {name: content * 20 for name, content in small.items()}


def test_what_is_answered_is_counted_as_over_http(server: Process, channel: grpc.Channel):
    rows = 'model_predictions_total{model="shop"'
    route = f'http_requests_total{{method="GRPC",route="/{SERVICE}/ModelInfer"'
    text = httpx.get(f"{server.metrics_url}/metrics", timeout=WAIT).text
    before = sum(float(row.split()[-1]) for row in text.splitlines() if row.startswith(rows))
    answered, wrong = counted(server, f'{route},status="200"'), counted(server, f'{route},status="404"')
    infer(channel, request())
    refused(channel, request(model="other").SerializeToString())
    text = httpx.get(f"{server.metrics_url}/metrics", timeout=WAIT).text
    assert sum(float(row.split()[-1]) for row in text.splitlines() if row.startswith(rows)) == before + 2
    assert counted(server, f'{route},status="200"') == answered + 1
    assert counted(server, f'{route},status="404"') == wrong + 1


BAD_MESSAGES: dict[str, bytes] = {
    "no message of the protocol": b"\xff" * 40,
    "cut short": request().SerializeToString()[:-3],
    "no inputs": broken(lambda made: made.ClearField("inputs")),
    "no contents": broken(lambda made: made.inputs[0].ClearField("contents")),
    "contents of another datatype": broken(lambda made: setattr(made.inputs[0], "datatype", "INT32")),
    "an unknown datatype": broken(lambda made: setattr(made.inputs[0], "datatype", "FP128")),
    "halves that are not raw": broken(lambda made: setattr(made.inputs[0], "datatype", "FP16")),
    "a whole number too large for its type": broken(
        lambda made: made.inputs[4].contents.uint_contents.__setitem__(0, 256)
    ),
    "a text that is no UTF-8": broken(
        lambda made: made.inputs[2].contents.bytes_contents.__setitem__(0, b"\xff\xfe")
    ),
    "a shape below zero": broken(lambda made: made.inputs[0].shape.__setitem__(0, -2)),
    "a shape beyond all memory": broken(lambda made: made.inputs[0].shape.extend([2**62, 2**62])),
    "a shape without end": broken(lambda made: made.inputs[0].shape.extend([1] * 500)),
    "the same input twice": broken(lambda made: made.inputs.append(made.inputs[0])),
    "raw and typed contents": broken(lambda made: made.raw_input_contents.append(b"")),
    "a number that is none": broken(
        lambda made: made.inputs[1].contents.fp64_contents.__setitem__(0, float("nan"))
    ),
    "an unknown output": broken(lambda made: made.outputs.add(name="margin")),
    "an explain that is none": broken(
        lambda made: setattr(made.parameters["explain"], "string_param", "yes")
    ),
    "an explain without a value": broken(lambda made: made.parameters["explain"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_a_bad_request_is_an_invalid_argument_that_repeats_no_value(channel: grpc.Channel, case: str):
    code, text = refused(channel, BAD_MESSAGES[case])
    assert code == "INVALID_ARGUMENT"
    assert text
    assert "50000900" not in text


def test_what_is_not_there_is_not_found(channel: grpc.Channel):
    for message in (pb.ModelReadyRequest(name="other"), pb.ModelReadyRequest(name="shop", version="9")):
        for method in ("ModelReady", "ModelMetadata"):
            assert refused(channel, message.SerializeToString(), method)[0] == "NOT_FOUND"
    assert refused(channel, b"", "ModelTrain")[0] == "UNIMPLEMENTED"


def test_too_many_records_and_too_large_a_message_exhaust_what_is_allowed(channel: grpc.Channel):
    code, text = refused(channel, request(times=26).SerializeToString())
    assert (code, text) == ("RESOURCE_EXHAUSTED", "52 records in one request; at most 50 are allowed")
    code, text = refused(channel, b"\x2a\x00" * 20_001)
    assert (code, text[:36]) == ("RESOURCE_EXHAUSTED", "the message has more than 20000 inpu")
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(f"/{SERVICE}/ServerLive")(b"", metadata=(("x", "a" * 40_000),), timeout=WAIT)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    large = broken(lambda made: made.raw_input_contents.append(b"x" * 200_001))
    assert refused(channel, large)[0] == "RESOURCE_EXHAUSTED"


def test_a_client_that_sends_nothing_is_let_go_at_its_deadline(shop: Path):
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        never.wait(WAIT)
        yield from ()

    with (
        served("--model", shop, "--grpc-port", 0, environment={"CHURN_RECEIVE_SECONDS": "0.5"}) as server,
        connected(server) as channel,
    ):
        with pytest.raises(grpc.RpcError) as error:
            channel.stream_unary(f"/{SERVICE}/ModelInfer")(nothing(), timeout=WAIT)
        never.set()
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.value.details() == "the message did not arrive in time"


def test_more_at_once_than_allowed_is_unavailable_and_health_is_not(shop: Path):
    limits = {"CHURN_MAX_CONCURRENT": "1", "CHURN_MAX_CONNECTIONS": "2", "CHURN_RECEIVE_SECONDS": "300"}
    with (
        served("--model", shop, "--grpc-port", 0, environment=limits) as server,
        connected(server) as busy,
        connected(server) as other,
    ):
        release = threading.Event()

        def slow() -> Iterator[bytes]:
            release.wait(WAIT)
            yield request().SerializeToString()

        holding = busy.stream_unary(f"/{SERVICE}/ModelInfer").future(slow(), timeout=WAIT)
        error = first_error(lambda: ask(other, "ServerLive", b""))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert ("grpc-retry-pushback-ms", "1000") in error.trailing_metadata()
        with connected(server) as third, pytest.raises(grpc.RpcError):
            ask(third, "ServerLive", b"")
        health = health_pb2_grpc.HealthStub(other)
        assert health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=WAIT).status == 1
        release.set()
        assert pb.ModelInferResponse.FromString(holding.result()).model_name == "shop"
        assert pb.ServerLiveResponse.FromString(ask(other, "ServerLive", b"")).live


def test_no_answer_in_time_is_a_deadline_exceeded(shop: Path):
    with (
        served("--model", shop, "--grpc-port", 0, environment={"CHURN_PREDICT_SECONDS": "0.001"}) as server,
        connected(server) as channel,
    ):
        code, text = refused(channel, request(times=4000).SerializeToString())
        assert (code, text) == (
            "DEADLINE_EXCEEDED",
            "there was no answer within 0.001 seconds; send fewer records",
        )


def test_leaving_goes_on_serving_then_finishes_what_is_in_flight():
    with (
        served("--model", SAMPLE, "--grpc-port", 0, environment=PATIENT) as server,
        connected(server) as kept,
    ):
        health = health_pb2_grpc.HealthStub(kept)
        asked = health_pb2.HealthCheckRequest()
        assert health.Check(asked, timeout=WAIT).status == health_pb2.HealthCheckResponse.SERVING
        begun, release = threading.Event(), threading.Event()

        def slow() -> Iterator[bytes]:
            begun.set()
            release.wait(WAIT)
            yield b""

        in_flight = kept.stream_unary(f"/{SERVICE}/ServerLive").future(slow(), timeout=WAIT)
        assert begun.wait(WAIT)
        assert pb.ServerReadyResponse.FromString(ask(kept, "ServerReady", b"")).ready
        server.process.send_signal(signal.SIGTERM)
        assert server.next_event()["event"] == "draining"
        deadline = time.monotonic() + WAIT
        while health.Check(asked, timeout=WAIT).status != health_pb2.HealthCheckResponse.NOT_SERVING:
            assert time.monotonic() < deadline
        with connected(server) as fresh:
            for channel in (kept, fresh):
                assert not pb.ServerReadyResponse.FromString(ask(channel, "ServerReady", b"")).ready
                assert pb.ServerLiveResponse.FromString(ask(channel, "ServerLive", b"")).live

        def ask_anew() -> None:
            with connected(server) as fresh:
                ask(fresh, "ServerLive", b"")

        server.process.send_signal(signal.SIGTERM)  # the second ends the window
        first_error(ask_anew)
        release.set()
        assert pb.ServerLiveResponse.FromString(in_flight.result()).live
        assert server.process.wait(WAIT) == 0


def test_a_port_in_use_is_said(server: Process, shop: Path, tmp_path: Path):
    port = server.ready["grpc_port"]
    done = run("serve", "--model", shop, "--host", "127.0.0.1", "--port", 0, "--metrics-port", 0,
               "--grpc-port", port, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["reason"] == "ConfigInvalid"
    assert re.search(rf"cannot listen on 127.0.0.1 port {port}", line)
    assert done.stderr == ""


def test_who_has_no_key_is_not_answered_and_who_has_spent_it_waits(shop: Path, tmp_path: Path):
    key = add_key(tmp_path / "keys.json", "crm", rate=0.001, burst=1)
    arguments = ("--grpc-port", 0, "--auth", "keys", "--auth-keys", tmp_path / "keys.json")
    with served("--model", shop, *arguments) as server, connected(server) as channel:
        live = channel.unary_unary(f"/{SERVICE}/ServerLive")
        told = []
        for metadata in ((), (("x-api-key", "wrong"),), (("authorization", f"Bearer {key}"),)):
            try:
                live(b"", timeout=WAIT, metadata=metadata)
            except grpc.RpcError as error:
                told.append(error.code().name)
            else:
                told.append("OK")
        assert told == ["UNAUTHENTICATED", "UNAUTHENTICATED", "OK"]
        with pytest.raises(grpc.RpcError) as spent:
            live(b"", timeout=WAIT, metadata=(("x-api-key", key),))
        assert spent.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=WAIT).status == 1
