"""What the tests of hostile clients share."""

import json

import httpx
from tests.serving.asgi import Process
from tests.serving.conftest import SAMPLE
from tests.serving.wire import Heard, ask, request

GOLDEN = json.loads((SAMPLE / "golden.jsonl").read_text().splitlines()[0])
RECORD = GOLDEN["record"] | {"customerID": "SECRET-1"}
BODY = json.dumps({"records": [RECORD]}).encode()
TENURE = f'"tenure": {RECORD["tenure"]}'.encode()
V2 = "/v2/models/telco/infer"
V1 = "/v1/models/telco:predict"
ROUTES = {"/predict": b"records", V1: b"instances", "/v1/models/telco:explain": b"instances"}
SECRETS = (b"SECRET", b"7590", RECORD["Contract"].encode())


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
    text = httpx.get(f"{server.metrics_url}/metrics", timeout=60).text
    return sum(float(row.split()[-1]) for row in text.splitlines() if row.startswith(line))
