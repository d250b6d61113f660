"""Each limit of the server, its status and its deadline, on a server whose limits are small."""

import json
import select
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest

from .asgi import JSON, Process, served
from .conftest import SAMPLE
from .wire import Heard, Wire, ask, kept, request, wire

RECORD = json.loads((SAMPLE / "golden.jsonl").read_text().splitlines()[0])["record"]
BODY = json.dumps({"records": [RECORD]}).encode()
LIMITS = {
    "CHURN_MAX_HEAD_BYTES": "4096",
    "CHURN_MAX_BODY_BYTES": "300000",
    "CHURN_MAX_PENDING_BYTES": "400000",
    "CHURN_MAX_CONNECTIONS": "20",
    "CHURN_MAX_VALUES": "12000",
    "CHURN_MAX_TEXT_LENGTH": "40",
    "CHURN_MAX_NESTING": "5",
}
# Only of those who are to be late: else a client that stands still for a moment would be, too.
HASTE = {"CHURN_RECEIVE_SECONDS": "0.4", "CHURN_MAX_PENDING_BYTES": "40000"}


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with served("--model", SAMPLE, environment=LIMITS) as process:
        yield process


@pytest.fixture(scope="module")
def port(server: Process) -> int:
    return int(server.ready["port"])


@pytest.fixture(scope="module")
def hasty() -> Iterator[Process]:
    with served("--model", SAMPLE, environment=HASTE) as process:
        yield process


def counted(server: Process, line: str) -> float:
    text = httpx.get(f"{server.metrics_url}/metrics", timeout=60).text
    return float(next((row.split()[-1] for row in text.splitlines() if row.startswith(line)), 0))


def test_a_head_above_its_limit_is_431_and_counted(server: Process, port: int):
    before = counted(server, 'model_errors_total{code="head_too_large"}')
    answer = ask(port, request(BODY, X_Large="a" * 5000))
    assert (answer.status, answer.code) == (431, "head_too_large")
    assert answer.headers["connection"] == "close"
    assert counted(server, 'model_errors_total{code="head_too_large"}') == before + 1


def test_a_head_below_its_limit_before_a_large_body_is_read(port: int):
    body = json.dumps({"records": [RECORD] * 300}).encode()
    assert len(body) > 65536
    with wire(port) as opened:
        for _ in range(3):
            opened.send(request(body, X_Large="a" * 3500))
            assert opened.hear().status == 200


def customers(count: int) -> bytes:
    return json.dumps({"records": [RECORD] * count}).encode()


def test_a_body_of_more_values_than_allowed_is_413_and_one_of_fewer_is_read(port: int):
    """A record of the sample is 19 values, 19 keys, itself and its comma."""
    assert ask(port, request(customers(300))).status == 200
    answer = ask(port, request(customers(320)))
    assert (answer.status, answer.code) == (413, "too_many_values")


def test_commas_in_texts_are_no_values(port: int):
    talkative = customers(300).replace(RECORD["Contract"].encode(), b",,,,,,,,,,[{:" * 3)
    assert talkative.count(b",") > 12_000
    assert ask(port, request(talkative)).status == 200


def tensors(text: str, count: int = 1, **more: object) -> bytes:
    column = {"name": "Contract", "datatype": "BYTES", "shape": [count], "data": [text] * count}
    rest = [
        {"name": name, "datatype": "BYTES", "shape": [count], "data": [str(value)] * count}
        for name, value in RECORD.items()
        if name != "Contract"
    ]
    return json.dumps({"inputs": [column, *rest], **more}).encode()


def infer(port: int, body: bytes, **headers: object) -> Heard:
    return ask(port, request(body, path="/v2/models/telco/infer", **headers))


def test_tensors_of_more_values_than_allowed_are_413(port: int):
    assert infer(port, tensors("One year", 500)).status == 200
    assert infer(port, tensors("One year", 700)).status == 413
    head = tensors("", 0).replace(
        b'"shape": [0], "data": []', b'"shape": [700], "parameters": {"binary_data_size": 0}'
    )
    assert infer(port, head, Inference_Header_Content_Length=len(head)).status == 413


@pytest.mark.parametrize("padding", [0, 70_000])
@pytest.mark.parametrize("text", ["x" * 41, "🎉" * 41])
def test_a_text_above_its_limit_is_422_and_the_column_is_named(port: int, text: str, padding: int):
    answer = ask(
        port,
        request(json.dumps({"records": [RECORD, RECORD | {"Contract": text}]}).encode() + b" " * padding),
    )
    assert (answer.status, answer.code) == (422, "text_too_long")
    (detail,) = json.loads(answer.body)["error"]["details"]
    assert (detail["record"], detail["column"]) == (1, "Contract")


def test_a_text_within_its_limit_is_scored_whatever_its_bytes(port: int):
    for text in ("x" * 40, "🎉" * 40, "\u0000" * 40):
        assert (
            ask(port, request(json.dumps({"records": [RECORD | {"Contract": text}]}).encode())).status == 200
        )
        assert infer(port, tensors(text)).status == 200


def test_a_text_above_its_limit_in_a_tensor_is_400_and_the_input_is_named(port: int):
    answer = infer(port, tensors("x" * 41))
    assert answer.status == 400
    assert "'Contract'" in json.loads(answer.body)["error"]
    assert infer(port, tensors("One year", id="x" * 41)).status == 400


def test_a_text_in_a_column_that_is_not_scored_has_the_same_limits(port: int):
    for value, status in (("x" * 40, 200), (["x" * 40], 200), ("x" * 41, 422), ({"a": ["x" * 41]}, 422)):
        answer = ask(port, request(json.dumps({"records": [RECORD | {"Churn": value}]}).encode()))
        assert answer.status == status


@pytest.mark.parametrize("nested", [[[]], {"a": {}}, [{}], {"a": []}])
def test_what_is_nested_deeper_than_allowed_is_400(port: int, nested: object):
    """The body, its records and one of them are three."""
    fine, deep = (json.dumps({"records": [RECORD | {"Churn": each}]}).encode() for each in (nested, [nested]))
    assert ask(port, request(fine)).status == 200
    answer = ask(port, request(deep))
    assert (answer.status, answer.code) == (400, "nested_too_deeply")
    assert infer(port, tensors("One year", parameters={"x": nested})).status == 200
    assert infer(port, tensors("One year", parameters={"x": [[nested]]})).status == 400


def is_answered(opened: Wire, *, within: float) -> bool:
    return bool(select.select([opened.socket], [], [], within)[0])


def send_again(slow: Wire, data: bytes, *, pause: float) -> None:
    for _ in range(2000):
        slow.send(data)
        time.sleep(pause)


def test_a_head_without_an_end_is_refused_while_it_comes(port: int):
    with wire(port) as flood:
        flood.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Endless: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_again(flood, b"a" * 60_000, pause=0)


def test_a_head_that_does_not_end_is_408_at_its_deadline(hasty: Process):
    with kept(hasty.ready["port"]) as slow:
        slow.send(b"POST /predict HTTP/1.1\r\nHost: x\r\n")
        answer = slow.hear()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert slow.closed()


def test_a_drip_of_header_bytes_does_not_move_the_deadline(hasty: Process):
    with kept(hasty.ready["port"]) as slow:
        slow.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_again(slow, b"a", pause=0.05)


def test_a_drip_of_body_bytes_does_not_move_the_deadline(hasty: Process):
    with kept(hasty.ready["port"]) as slow:
        slow.send(request(Content_Length=5000))
        for _ in range(2000):
            if is_answered(slow, within=0.05):
                break
            slow.send(b" ")
        answer = slow.hear()
        assert (answer.status, answer.code, answer.headers["connection"]) == (408, "request_timeout", "close")


def test_the_rest_of_a_refused_body_has_a_deadline_too(hasty: Process):
    with kept(hasty.ready["port"]) as slow:
        slow.send(request(Content_Length=10**9))
        assert slow.hear().status == 413
        assert slow.closed()


@pytest.mark.parametrize("which", ["port", "metrics_port"])
def test_a_silent_connection_is_closed(hasty: Process, which: str):
    with wire(hasty.ready[which]) as silent:
        assert silent.closed()


def test_an_idle_connection_is_kept_longer_than_a_request_may_take(hasty: Process):
    with kept(hasty.ready["port"]) as idle:
        time.sleep(1)
        idle.send(request(BODY))
        assert idle.hear().status == 200


def test_an_idle_connection_is_closed_at_its_deadline():
    with (
        served("--model", SAMPLE, environment={"CHURN_KEEP_ALIVE_SECONDS": "0.2"}) as server,
        wire(server.ready["port"]) as idle,
    ):
        idle.send(request(BODY))
        assert idle.hear().status == 200
        assert idle.closed()


def test_bodies_that_arrive_side_by_side_are_bounded_together(port: int):
    with wire(port) as first, wire(port) as second:
        for each in (first, second):
            each.send(request(b" " * 250_000, Content_Length=280_000))
        (socket,) = select.select([first.socket, second.socket], [], [], 60)[0]
        refused, other = (first, second) if socket is first.socket else (second, first)
        answer = refused.hear()
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "overloaded", "1")
        other.send(b" " * 30_000)
        assert other.hear().status == 400
    assert ask(port, request(b" " * 250_000)).status == 400, "what was refused is not counted for ever"


def test_bodies_that_were_given_up_are_not_counted_for_ever(hasty: Process):
    for _ in range(3):
        with kept(hasty.ready["port"]) as slow:
            slow.send(request(b" " * 25_000, Content_Length=28_000))
            assert slow.hear().status == 408


def test_connections_beyond_the_limit_are_closed_and_those_below_it_served(server: Process, port: int):
    opened = [wire(port) for _ in range(40)]
    wires = [each.__enter__() for each in opened]
    try:
        for each in wires[:5]:
            each.send(request(BODY))
        assert [each.hear().status for each in wires[:5]] == [200] * 5
        assert all(each.closed() for each in wires[25:])
        assert httpx.get(f"{server.metrics_url}/readyz", timeout=60).status_code == 200
    finally:
        for each in wires:
            each.socket.close()


def test_more_requests_at_once_than_allowed_are_503_and_probes_are_not():
    with served("--model", SAMPLE, environment={"CHURN_MAX_CONCURRENT": "1"}) as server:
        rows = json.dumps({"records": [RECORD] * 10_000}).encode()
        enough = threading.Event()

        def keep_busy() -> None:
            while not enough.is_set():
                httpx.post(f"{server.url}/predict", content=rows, headers=JSON, timeout=60)

        busy = threading.Thread(target=keep_busy)
        busy.start()
        try:
            refused = wait_for_refusal(server.url)
            assert httpx.get(f"{server.url}/readyz", timeout=60).status_code == 200
        finally:
            enough.set()
            busy.join()
        assert (refused.json()["error"]["code"], refused.headers["retry-after"]) == ("overloaded", "1")
        assert ask(server.ready["port"], request(BODY)).status == 200


def wait_for_refusal(url: str) -> httpx.Response:
    """The first 503 that one customer after the other meets."""
    deadline = time.monotonic() + 60
    with httpx.Client(base_url=url, headers=JSON, timeout=60) as client:
        while time.monotonic() < deadline:
            answer = client.post("/predict", content=BODY)
            assert answer.status_code in {200, 503}
            if answer.status_code == 503:
                return answer
    raise TimeoutError("no request met the limit within 60 s")


def test_an_answer_that_takes_too_long_is_504_and_the_server_goes_on():
    with served("--model", SAMPLE, environment={"CHURN_PREDICT_SECONDS": "0.01"}) as server:
        port = server.ready["port"]
        rows = request(json.dumps({"records": [RECORD] * 10_000, "explain": False}).encode())
        with ThreadPoolExecutor(8) as threads:  # one is answered after the other: some wait long
            answers = list(threads.map(partial(ask, port), [rows] * 8))
        assert {answer.code for answer in answers if answer.status != 200} == {"predict_timeout"}
        assert {answer.status for answer in answers} <= {200, 504}
        assert ask(server.ready["port"], request(BODY)).status == 200
