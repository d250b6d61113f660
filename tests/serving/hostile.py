"""What the tests of hostile clients share."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from .asgi import Process, served
from .conftest import SAMPLE
from .wire import Heard, ask, request

GOLDEN = json.loads((SAMPLE / "golden.jsonl").read_text().splitlines()[0])
RECORD = GOLDEN["record"] | {"customerID": "SECRET-1"}
BODY = json.dumps({"records": [RECORD]}).encode()
TENURE = f'"tenure": {RECORD["tenure"]}'.encode()
V2 = "/v2/models/telco/infer"
V1 = "/v1/models/telco:predict"
ROUTES = {"/predict": b"records", V1: b"instances", "/v1/models/telco:explain": b"instances"}
SECRETS = (b"SECRET", b"7590", RECORD["Contract"].encode())


@contextmanager
def hasty_server() -> Iterator[Process]:
    """Waits for what clients send no longer than half a second."""
    with served("--model", SAMPLE, environment={"CHURN_RECEIVE_SECONDS": "0.5"}) as process:
        yield process


def goes_on(server: Process) -> None:
    """Whatever came before: the process is the same, and scores as it should."""
    assert server.process.poll() is None
    answer = ask(server.ready["port"], request(BODY))
    assert answer.status == 200
    probability = json.loads(answer.body)["predictions"][0]["probability"]
    assert probability == pytest.approx(GOLDEN["probability"], abs=1e-5)


def records(**changes: object) -> bytes:
    return json.dumps({"records": [RECORD | changes]}).encode()


def tenure(number: bytes) -> bytes:
    return BODY.replace(TENURE, b'"tenure": ' + number)


def is_refused(answer: Heard, *statuses: int) -> None:
    assert answer.status in (statuses or range(400, 500)), answer
    assert len(answer.body) <= 16_384
    assert answer.headers["content-type"] == "application/json"
    assert not [secret for secret in SECRETS if secret in answer.body]
    error = json.loads(answer.body)["error"]
    assert isinstance(error, str) or set(error) == {"code", "message", "details"}


def refused_everywhere(port: int, body: bytes, *statuses: int) -> None:
    for path, key in ROUTES.items():
        is_refused(ask(port, request(body.replace(b'"records"', b'"%s"' % key), path=path)), *statuses)


def head(*lines: str) -> bytes:
    return "\r\n".join(
        ["POST /predict HTTP/1.1", "Host: x", "Content-Type: application/json", *lines, "\r\n"]
    ).encode("latin-1")


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"


def metric(server: Process, line: str) -> float:
    text = httpx.get(f"{server.metrics_url}/metrics").text
    return sum(float(row.split()[-1]) for row in text.splitlines() if row.startswith(line))
