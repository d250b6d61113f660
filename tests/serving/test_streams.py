"""Streams on /predict: a line in, a line out, in order, whatever the size; and answers as CSV."""

import csv
import gzip
import http.client
import io
import json
import socket
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import pytest
from backports import zstd

from churn_serving.server.accept import CSV, choose_form
from churn_serving.server.http import JSON
from churn_serving.server.streams.lines import Lines

from .asgi import Process, served

_NAMES = ("account", "age", "balance", "plan", "newsletter", "visits", "region")
RECORDS: list[dict[str, Any]] = [
    dict(zip(_NAMES, values, strict=True))
    for values in (
        (90_001, 41.5, 50_000_900.0, "pro, yearly", True, 3, "東京"),
        ("=1+1", None, 49_999_100.25, "basic", False, 29, "Zürich"),
        (90_003, 19, 5e7, None, True, 0, "never seen"),
    )
]
NDJSON = {"Content-Type": "application/x-ndjson"}
MAX_LINE = 2000


@pytest.fixture(scope="module")
def server(shop: Path) -> Iterator[Process]:
    limits = {"CHURN_MAX_LINE_BYTES": str(MAX_LINE), "CHURN_MAX_STREAMS": "2", "CHURN_MAX_BODY_BYTES": "5000"}
    with served("--model", shop, environment=limits) as process:
        yield process


def lines_of(records: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def stream(server: Process, body: Any, **headers: str) -> httpx.Response:
    sent = NDJSON | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{server.url}/predict", content=body, headers=sent, timeout=60)


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def expected(server: Process) -> list[tuple[Any, float, bool]]:
    """What a plain request says of the records."""
    told = httpx.post(f"{server.url}/predict", json={"records": RECORDS}, timeout=60).json()
    return [(one["id"], one["probability"], one["churn"]) for one in told["predictions"]]


def known(told: Iterable[dict[str, Any]]) -> list[tuple[Any, float, bool]]:
    return [(one["id"], one["probability"], one["churn"]) for one in told]


def test_each_line_has_its_line_in_order(server: Process):
    told = stream(server, lines_of(RECORDS * 50))
    assert known(answers(told)) == expected(server) * 50
    assert (told.headers["model-name"], told.headers["model-version"]) == ("shop", "3")
    assert told.headers["content-type"] == "application/x-ndjson"


BAD_LINES: dict[bytes, str] = {
    b"{": "malformed_json",
    b"\xff": "malformed_json",
    b"17": "invalid_records",
    b"{}": "invalid_records",
    lines_of([RECORDS[0] | {"age": "old"}]).strip(): "invalid_records",
    lines_of([RECORDS[0]]).strip()[:-1] + b', "age": 3}': "duplicate_key",
    b"%b,%b" % ((lines_of([RECORDS[0]]).strip(),) * 2): "malformed_json",
    b"[" * 100: "malformed_json",
    b"[" * 100 + b"]" * 100: "nested_too_deeply",
    b'"%b"' % (b"x" * MAX_LINE): "line_too_long",
    lines_of([RECORDS[0] | {"age": 1}]).strip().replace(b'"age": 1', b'"age": 1e400'): "number_out_of_range",
}


def test_a_bad_line_is_told_in_its_place_and_harms_no_other(server: Process):
    good = lines_of(RECORDS[:1])
    body = good + b"".join(bad + b"\n\n" + good for bad in BAD_LINES)
    told = answers(stream(server, body))
    assert [one.get("error", {}).get("code") for one in told[1::2]] == list(BAD_LINES.values())
    assert [one["line"] for one in told[1::2]] == [2 + 3 * at for at in range(len(BAD_LINES))]
    assert known(told[::2]) == expected(server)[:1] * (len(BAD_LINES) + 1)


def test_a_wrong_column_is_named(server: Process):
    (told,) = answers(stream(server, lines_of([RECORDS[0] | {"age": "old"}])))
    detail = {"column": "age", "problem": "invalid", "message": "expected a number"}
    assert told["error"]["details"] == [detail]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n \n"])
def test_the_last_line_needs_no_end(server: Process, end: bytes):
    assert known(answers(stream(server, lines_of(RECORDS).strip() + end))) == expected(server)


def test_nothing_is_answered_with_nothing(server: Process):
    assert answers(stream(server, b"")) == []


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_compressed_stream_is_unpacked_as_it_comes(server: Process, encoding: str):
    packed = (gzip.compress if encoding == "gzip" else zstd.compress)(lines_of(RECORDS * 2000))
    parts = [packed[at : at + 100] for at in range(0, len(packed), 100)]
    assert known(answers(stream(server, iter(parts), Content_Encoding=encoding))) == expected(server) * 2000


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_compressed_stream_that_breaks_off_says_so_last(server: Process, encoding: str):
    packed = (gzip.compress if encoding == "gzip" else zstd.compress)(lines_of(RECORDS * 20_000))
    told = answers(stream(server, packed[: len(packed) // 2], Content_Encoding=encoding))
    assert told[-1]["error"]["code"] == "malformed_encoding"
    assert known(told[:3]) == expected(server)
    assert all("error" not in one for one in told[:-1])
    refused = stream(server, b"no such thing", Content_Encoding=encoding)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "malformed_encoding")


def test_a_stream_as_csv_has_a_row_for_each_line(server: Process):
    told = stream(server, lines_of([RECORDS[1]]) + b"{}\n" + lines_of([RECORDS[0]]), Accept="text/csv")
    assert told.headers["content-type"] == "text/csv"
    rows = list(csv.DictReader(io.StringIO(told.text)))
    assert [(row["line"], row["id"], bool(row["error"])) for row in rows] == [
        ("1", "=1+1", False),
        ("2", "", True),
        ("3", "90001", False),
    ]
    assert float(rows[0]["probability"]) == expected(server)[1][1]


@pytest.mark.parametrize("more", [b"", b" " * 3000])
def test_a_plain_request_is_answered_as_csv_where_that_is_asked_for(server: Process, more: bytes):
    """Whole, and so large that it comes in parts."""
    body = json.dumps({"records": RECORDS}).encode() + more
    headers = {"Content-Type": "application/json", "Accept": "text/csv"}
    told = httpx.post(f"{server.url}/predict", content=body, headers=headers, timeout=60)
    assert (told.status_code, told.headers["content-type"]) == (200, "text/csv")
    assert told.headers["model-version"] == "3"
    rows = list(csv.DictReader(io.StringIO(told.text)))
    assert list(rows[0]) == ["id", "prediction_id", "probability", "churn", "threshold"]
    found = [(row["id"], float(row["probability"]), row["churn"] == "true") for row in rows]
    assert found == [(str(customer), *rest) for customer, *rest in expected(server)]


def test_reasons_have_no_csv(server: Process):
    told = httpx.post(f"{server.url}/predict", json={"records": RECORDS, "explain": True},
                      headers={"Accept": "text/csv"}, timeout=60)  # fmt: skip
    assert (told.status_code, told.json()["error"]["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (b"text/csv", CSV),
        (b"TEXT/CSV; header=present", CSV),
        (b"application/json, text/csv;q=0.9", JSON),
        (b"application/json;q=0.5, text/csv;q=0.9", CSV),
        (b"text/csv;q=0", JSON),
        (b"text/csv;q=high", JSON),
        (b"text/html, */*;q=0.1", JSON),
        (b"", JSON),
    ],
)
def test_the_form_that_the_client_likes_best_is_taken(accept: bytes, form: bytes):
    assert choose_form([(b"accept", accept)], (JSON, CSV)) == form


def test_a_line_that_never_ends_is_not_kept():
    lines = Lines(10)
    for _ in range(1000):
        assert lines.feed(b"x" * 9) == []
    assert len(lines._rest) <= 10
    (long, short) = lines.feed(b"\nshort\n")
    assert (long.number, long.text) == (1, None)
    assert (short.number, short.text) == (2, b"short")


class Duplex:
    """A client that reads while it sends."""

    def __init__(self, server: Process, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", server.ready["port"]))
        self.socket.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        self.answer = http.client.HTTPResponse(self.socket, method="POST")

    def send(self, part: bytes) -> None:
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(part), part))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def test_an_answer_comes_before_the_stream_has_ended(server: Process):
    with Duplex(server) as client:
        client.send(lines_of(RECORDS[:1]))
        client.answer.begin()
        assert known([json.loads(client.answer.readline())]) == expected(server)[:1]
        client.send(lines_of(RECORDS[1:2]))
        assert known([json.loads(client.answer.readline())]) == expected(server)[1:2]
        client.send(b"")
        assert client.answer.read() == b""


def test_more_streams_than_allowed_are_503_and_a_plain_request_is_not(server: Process):
    with Duplex(server) as first, Duplex(server) as second:
        for client in (first, second):
            client.send(lines_of(RECORDS[:1]))
            client.answer.begin()
        refused = stream(server, lines_of(RECORDS))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert len(expected(server)) == 3
        for client in (first, second):
            client.send(b"")
            client.answer.read()
    assert len(answers(stream(server, lines_of(RECORDS)))) == 3


def test_a_stream_takes_no_memory_for_its_size(server: Process):
    """20 MB are sent, 6 MB come back; a server that kept either would show it."""
    process = psutil.Process(server.process.pid)
    stream(server, lines_of(RECORDS * 1000))
    part, parts = lines_of(RECORDS * 50), 1000
    before = process.memory_info().rss
    with Duplex(server) as client:

        def send() -> None:
            for _ in range(parts):
                client.send(part)
            client.send(b"")

        sender = threading.Thread(target=send)
        sender.start()
        client.answer.begin()
        count, largest = 0, before
        while line := client.answer.readline():
            count += 1
            if count % 10_000 == 0:
                largest = max(largest, process.memory_info().rss)
        sender.join()
    assert line == b""
    assert count == 150 * parts
    assert largest - before < 10 << 20


def test_a_client_that_does_not_read_is_not_read_from(server: Process):
    with Duplex(server, receive_buffer=4096) as client:
        client.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            client.send(lines_of(RECORDS * 50) * 4000)  # 70 MB
        assert httpx.get(f"{server.metrics_url}/livez", timeout=60).status_code == 200
