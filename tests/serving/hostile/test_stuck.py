"""A model that never ends, and one that brings the process down: what the kubelet then sees, and can mend."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.serving.asgi import JSON, Process, served
from tests.serving.wire import ask, request, wire

from churn_serving.bundle import sums

from .material import BODY, GOLDEN, RECORD, tenure

# Beyond any customer's tenure, scaled as the model has it or not.
_ENDLESS = 1e6
_LARGE = {"CHURN_INLINE_BYTES": "1024", "CHURN_PREDICT_SECONDS": "0.5", "CHURN_DEADLINE_SECONDS": "1"}


def endless(model: bytes, column: int) -> bytes:
    """The same graph, except that it never ends where a number in the column is enormous."""
    graph = onnx.load_from_string(model)
    (answer,) = (node for node in graph.graph.node if "probabilities" in node.output)
    answer.output[list(answer.output).index("probabilities")] = "found"
    constants = {
        "column": np.array([column]),
        "limit": np.array(_ENDLESS / 1000, dtype=np.float32),
        "never": np.array(0),
        "always": np.array(2**62),
    }
    made = [onnx.numpy_helper.from_array(each, name) for name, each in constants.items()]
    graph.graph.initializer.extend(made)
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["go"]), helper.make_node("Identity", ["now"], ["next"])],
        "again",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("now", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    graph.graph.node.extend(
        [
            helper.make_node("Gather", ["features", "column"], ["asked"], axis=1),
            helper.make_node("ReduceMax", ["asked"], ["largest"], keepdims=0),
            helper.make_node("Greater", ["largest", "limit"], ["enormous"]),
            helper.make_node("Where", ["enormous", "always", "never"], ["turns"]),
            helper.make_node("Loop", ["turns", "", "found"], ["probabilities"], body=body),
        ]
    )
    return graph.SerializeToString()


@pytest.fixture
def endless_bundle(telco: Path) -> Path:
    model = telco / sums.MODEL
    names = [feature["name"] for feature in json.loads((telco / sums.MANIFEST).read_text())["features"]]
    model.write_bytes(endless(model.read_bytes(), names.index("tenure")))
    contents = {name: (telco / name).read_bytes() for name in sums.LISTED}
    (telco / sums.SUMS).write_bytes(sums.build_sums(contents))
    return telco


@pytest.fixture
def patient(endless_bundle: Path) -> Iterator[Process]:
    """Its large requests are those of more than two customers or so."""
    with served("--model", endless_bundle, environment=_LARGE) as process:
        yield process


def endless_request(customers: int) -> bytes:
    one = json.loads(tenure(str(_ENDLESS).encode()))["records"]
    return request(json.dumps({"records": one + [RECORD] * (customers - 1)}).encode())


def becomes(url: str, status: int) -> httpx.Response:
    """The page's answer with this status, as soon as it has it."""
    deadline = time.monotonic() + 60
    while (answer := httpx.get(url, timeout=30)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
    return answer


def is_answered(port: int) -> bool:
    """Whether a probe is, within as long as the kubelet waits."""
    with wire(port, seconds=2) as kubelet:
        kubelet.send(request(method="GET", path="/livez"))
        with suppress(TimeoutError):
            return kubelet.hear("GET").status == 200
    return False


def test_g3_a_worker_that_never_comes_back_is_no_longer_live_while_small_requests_are_answered(
    patient: Process,
):
    port = patient.ready["port"]
    late = ask(port, endless_request(20))
    assert (late.status, late.code) == (504, "predict_timeout")
    gone = becomes(f"{patient.metrics_url}/livez", 503)
    assert gone.json()["error"]["code"] == "stuck"
    answer = httpx.post(f"{patient.url}/predict", content=BODY, headers=JSON, timeout=30)
    assert answer.json()["predictions"][0]["probability"] == pytest.approx(GOLDEN["probability"], abs=1e-5)


def test_g3_a_process_whose_worker_never_comes_back_ends_when_it_is_told_to(patient: Process):
    assert ask(patient.ready["port"], endless_request(20)).status == 504
    assert patient.end(within=60) == 0


def test_g3_a_large_request_that_ends_leaves_the_process_live(patient: Process):
    ordinary = request(json.dumps({"records": [RECORD] * 20}).encode())
    deadline = time.monotonic() + 60
    while (answer := ask(patient.ready["port"], ordinary)).status != 200:  # half a second was too short
        assert (answer.code, time.monotonic() < deadline) == ("predict_timeout", True)
    time.sleep(3 * float(_LARGE["CHURN_PREDICT_SECONDS"]))
    assert httpx.get(f"{patient.metrics_url}/livez", timeout=30).status_code == 200


def test_g3_an_event_loop_that_never_comes_back_answers_no_probe(endless_bundle: Path):
    with served("--model", endless_bundle) as server:
        with wire(server.ready["port"]) as client:
            client.send(endless_request(1))
            deadline = time.monotonic() + 60
            while is_answered(server.ready["metrics_port"]):  # until the request is read
                assert time.monotonic() < deadline
        assert server.end(signal.SIGKILL) == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_g3_a_crash_in_native_code_ends_the_process_at_once_and_hangs_no_client(
    telco: Path, number: signal.Signals
):
    with served("--model", telco) as server, wire(server.ready["port"]) as client:
        client.send(request(BODY))
        assert client.hear().status == 200
        assert server.end(number) == -number
        assert client.closed()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.ready["port"]))
