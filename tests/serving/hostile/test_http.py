"""Hostile HTTP, by the letters of the catalogue of faults: never a 5xx, never two readings."""

import json
import select
import socket
import time
from contextlib import suppress

import psutil
import pytest
from tests.serving.asgi import Process, served
from tests.serving.conftest import SAMPLE
from tests.serving.wire import Wire, ask, kept, request, wire

from ...chance import THOROUGH  # noqa: TID252  # lanes share how they draw
from .material import (
    BODY,
    CHUNKED,
    LENGTH,
    RECORD,
    chunked,
    head,
    is_refused,
)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(head("Content-Length: 200000000"), 413, id="said to be 200 MB"),
        pytest.param(head("Content-Length: " + "9" * 18), 413, id="said to be more than there is"),
        pytest.param(head("Content-Length: " + "9" * 30), 400, id="no 64-bit number"),
        pytest.param(head("Content-Length: -1") + BODY, 400, id="negative"),
        pytest.param(head("Content-Length: +10") + BODY, 400, id="plus"),
        pytest.param(head("Content-Length: 0x10") + BODY, 400, id="hexadecimal"),
        pytest.param(head("Content-Length: ") + BODY, 400, id="empty"),
        pytest.param(head("Content-Length: 10") + BODY, 400, id="shorter than what comes"),
        pytest.param(head(CHUNKED) + b"zz\r\n" + BODY, 400, id="chunk of no size"),
        pytest.param(head(CHUNKED) + b"-5\r\n" + BODY, 400, id="chunk of negative size"),
        pytest.param(head(CHUNKED) + b"f" * 40 + b"\r\n", 400, id="chunk of a size beyond 64 bits"),
        pytest.param(head(CHUNKED) + b"5\r\n" + BODY, 400, id="chunk longer than it says"),
        pytest.param(head(CHUNKED) + b"%x\r\n" % len(BODY) + BODY + b"\n0\r\n\r\n", 400, id="bare newline"),
        pytest.param(head(CHUNKED) + b"5;" + b"a" * 9_000_000, 400, id="chunk with endless parameters"),
        pytest.param(head(CHUNKED) + b"0" * 9_000_000, 400, id="chunk with an endless size"),
        pytest.param(
            head(CHUNKED) + chunked(BODY)[:-2] + b"X: " + b"a" * 9_000_000, 400, id="endless trailer"
        ),
        pytest.param(
            head(CHUNKED) + chunked(BODY)[:-2] + b"Content-Length: 5\r\n\r\n", 400, id="length behind"
        ),
    ],
)
def test_f8_a_length_that_lies(port: int, data: bytes, status: int):
    with wire(port) as liar:
        with suppress(ConnectionError):  # it is refused while it sends
            liar.send(data)
        is_refused(liar.hear(), status)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head("Content-Length: 5000") + BODY, id="longer than what comes"),
        pytest.param(head(CHUNKED) + b"%x\r\n" % len(BODY) + BODY, id="chunk without an end"),
    ],
)
def test_f8_a_length_that_promises_more_than_comes(hasty: Process, data: bytes):
    with kept(hasty.ready["port"]) as liar:
        liar.send(data)
        is_refused(liar.hear(), 408)


def flood(sender: Wire, first: bytes, *, listening: bool) -> int:
    """Send 200 MB, or what is taken before the answer is there. Returns how many MB."""
    part = b" " * (1 << 20)
    if CHUNKED.encode() in first:
        part = b"%x\r\n%s\r\n" % (len(part), part)
    sender.send(first)
    for sent in range(200):
        if listening and select.select([sender.socket], [], [], 0)[0]:
            return sent
        sender.send(part)
    return 200


@pytest.mark.parametrize(
    "first", [head(f"Content-Length: {200 << 20}"), head(CHUNKED)], ids=["length", "chunks"]
)
def test_f8_200_megabytes_are_refused_early_and_leave_the_memory_flat(
    server: Process, port: int, first: bytes
):
    memory = psutil.Process(server.process.pid)
    before = memory.memory_info().rss
    with wire(port) as sender:
        assert flood(sender, first, listening=True) < 100
        is_refused(sender.hear(), 413)
    assert memory.memory_info().rss - before < 64 << 20


def test_f8_a_client_that_listens_only_after_its_200_megabytes_hears_its_answer():
    with served("--model", SAMPLE, environment={"CHURN_RECEIVE_SECONDS": "300"}) as server:
        memory = psutil.Process(server.process.pid)
        before = memory.memory_info().rss
        for first in (head(f"Content-Length: {200 << 20}"), head(CHUNKED)):
            with wire(server.ready["port"]) as sender:
                assert flood(sender, first, listening=False) == 200
                is_refused(sender.hear(), 413)
        assert memory.memory_info().rss - before < 64 << 20


@pytest.mark.parametrize("parts", [[BODY], [BODY[:1], BODY[1:]], [bytes([byte]) for byte in BODY]])
def test_f8_a_chunked_body_is_one_body_however_it_is_cut(port: int, parts: list[bytes]):
    assert ask(port, head(CHUNKED) + chunked(*parts)).status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(head(LENGTH, "X: " + "y" * 65536) + BODY, 431, id="64 KB header"),
        pytest.param(head(LENGTH, *[f"X-{n}: y" for n in range(10_000)]) + BODY, 431, id="10,000 headers"),
        pytest.param(request(path="/" + "a" * 100_000), 431, id="100 KB path"),
        pytest.param(request(BODY, path="/predict?" + "a=b&" * 20_000), 431, id="80 KB query"),
        pytest.param(head(LENGTH, CHUNKED) + chunked(BODY), 400, id="length and chunks"),
        pytest.param(head(CHUNKED, LENGTH) + chunked(BODY), 400, id="chunks and length"),
        pytest.param(head(LENGTH, "Content-Length: 5") + BODY, 400, id="two lengths"),
        pytest.param(head(LENGTH, LENGTH) + BODY, 400, id="the same length twice"),
        pytest.param(
            head("Transfer-Encoding: gzip, chunked") + chunked(BODY), 400, id="a coding in a coding"
        ),
        pytest.param(
            head("Transfer-Encoding: chunked, identity") + chunked(BODY), 400, id="chunked not last"
        ),
        pytest.param(head("Transfer-Encoding: xchunked") + chunked(BODY), 400, id="unknown coding"),
        pytest.param(head("Transfer-Encoding : chunked") + chunked(BODY), 400, id="space before the colon"),
        pytest.param(head("Transfer-Encoding:\x0bchunked") + chunked(BODY), 400, id="vertical tab"),
        pytest.param(head(CHUNKED, CHUNKED) + chunked(BODY), 400, id="chunked twice"),
        pytest.param(head("X: y\r\n z", LENGTH) + BODY, 400, id="folded line"),
        pytest.param(head("X: a\rb", LENGTH) + BODY, 400, id="bare carriage return"),
        pytest.param(head(LENGTH).replace(b"\r\n", b"\n") + BODY, 400, id="bare newlines"),
        pytest.param(head("X: a\0b", LENGTH) + BODY, 400, id="NUL in a header"),
        pytest.param(head("no colon", LENGTH) + BODY, 400, id="no colon"),
        pytest.param(head(": x", LENGTH) + BODY, 400, id="no name"),
        pytest.param(request(BODY, host=False), 400, id="no host"),
        pytest.param(head("Host: y", LENGTH) + BODY, 400, id="two hosts"),
        pytest.param(request(BODY, host=False, Host="<script>"), 400, id="no host's characters"),
        pytest.param(request(path="*", method="OPTIONS"), 404, id="asterisk"),
        pytest.param(request(path="http://evil"), 400, id="absolute without a path"),
        pytest.param(b"CONNECT evil:443 HTTP/1.1\r\nHost: evil\r\n\r\n", 400, id="CONNECT"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="HTTP/2"),
        pytest.param(b"POST /predict HTTP/9.9\r\nHost: x\r\n\r\n", 400, id="HTTP/9.9"),
        pytest.param(b"POST /predict\r\n\r\n", 400, id="HTTP/0.9"),
        pytest.param(request(BODY).replace(b"HTTP/1.1", b"HTTP/0.9"), 400, id="HTTP/0.9, said"),
        pytest.param(request(BODY).replace(b"HTTP/1.1", b"HTTP/2.0"), 400, id="HTTP/2.0, said"),
        pytest.param(request(BODY).replace(b"HTTP/1.1", b"http/1.1"), 400, id="http/1.1"),
        pytest.param(request(BODY).replace(b"HTTP/1.1", b"HTTP/1.10"), 400, id="HTTP/1.10"),
        pytest.param(request(BODY).replace(b" HTTP/1.1", b"\tHTTP/1.1"), 400, id="tab before the version"),
        pytest.param(request(BODY).replace(b"POST", b"post"), 400, id="method in small letters"),
        pytest.param(
            (head(CHUNKED) + chunked(BODY)).replace(b"HTTP/1.1", b"HTTP/1.0"), 400, id="chunks in HTTP/1.0"
        ),
        pytest.param(
            head("Transfer-Encoding: chunked, chunked") + chunked(BODY), 400, id="chunked in chunked"
        ),
        pytest.param(
            head("Transfer-Encoding: chunked;a=b") + chunked(BODY), 400, id="coding with parameters"
        ),
        pytest.param(head('Transfer-Encoding: "chunked"') + chunked(BODY), 400, id="coding in quotes"),
        pytest.param(head("Transfer-Encoding:") + BODY, 400, id="empty coding"),
        pytest.param(head("Transfer\u005fEncoding: chunked", LENGTH) + BODY, 200, id="underscore, no coding"),
        pytest.param(head(LENGTH, "Content_Length: 5") + BODY, 200, id="underscore, no length"),
        pytest.param(head("Content-Length : 5") + BODY, 400, id="space after the length's name"),
        pytest.param(head(f"{LENGTH}, {len(BODY)}") + BODY, 400, id="two lengths in a line"),
        pytest.param(head(f"{LENGTH} 5") + BODY, 400, id="length and more"),
        pytest.param(head("X y: z", LENGTH) + BODY, 400, id="space in a name"),
        pytest.param(head("X\xff: z", LENGTH) + BODY, 400, id="no ASCII in a name"),
        pytest.param(head("X(): z", LENGTH) + BODY, 400, id="brackets in a name"),
        pytest.param(b" " + request(BODY), 400, id="space before the line"),
        pytest.param(request(BODY, path="/predict#a"), 200, id="fragment"),
        pytest.param(request(BODY, path="predict"), 400, id="no slash"),
        pytest.param(request(BODY, path="/pre dict"), 400, id="space in the path"),
        pytest.param(request(BODY, path="/predict\xff"), 400, id="no ASCII in the path"),
        pytest.param(
            request(BODY, Content_Encoding="gzip", X="1\r\nContent-Encoding: gzip"), 415, id="coded twice"
        ),
        pytest.param(request(BODY, X="1\r\nContent-Type: text/plain"), 415, id="two types"),
        pytest.param(request(BODY, X="1\r\nContent-Type: application/json"), 415, id="the same type twice"),
        pytest.param(b"\x16\x03\x01\x02\x00" + b"a" * 600, 400, id="TLS"),
        pytest.param(b"\xff" * 1000, 400, id="garbage"),
        pytest.param(head(CHUNKED) + chunked(BODY)[:-2] + b"X: y\r\n" * 50_000 + b"\r\n", 400, id="trailers"),
    ],
)
def test_f9_a_head_that_is_too_large_or_read_in_two_ways(port: int, data: bytes, status: int):
    answer = ask(port, data)
    if status == 200:
        assert answer.status == 200
    else:
        is_refused(answer, status)


def test_f9_a_trailer_is_no_header(port: int):
    """Else what a proxy took out of the head could be said behind the body."""
    data = head(CHUNKED).replace(b"Content-Type: application/json\r\n", b"")
    data += chunked(BODY)[:-2] + b"Content-Type: application/json\r\n\r\n"
    is_refused(ask(port, data), 415)


def test_f9_requests_in_one_piece_are_answered_in_order_up_to_the_one_that_is_none(port: int):
    with wire(port) as pipelined:
        pipelined.send(request(BODY) * 3 + request(method="GET", path="/livez") + b"\xff\r\n\r\n")
        statuses = [pipelined.hear().status for _ in range(4)]
        assert statuses == [200] * 4
        assert pipelined.closed()


def test_f9_one_head_one_answer_even_where_the_body_breaks_after_it(hasty: Process, port: int):
    """A second answer would be taken for that of the next request."""
    with kept(hasty.ready["port"]) as sender:
        sender.send(head("Content-Length: 900000000"))
        assert sender.hear().status == 413
        sender.send(b"x" * 100)
        assert sender.closed()
        assert sender.heard == b""
    with wire(port) as sender:
        sender.send(head(CHUNKED).replace(b"json", b"text") + b"5\r\nabcde\r\n")
        assert sender.hear().status == 415
        sender.send(b"no chunk\r\n")
        assert sender.closed()
        assert sender.heard == b""


def test_f9_thousands_of_offers_in_one_piece_are_passed_over_one_by_one(port: int):
    offered = request(method="GET", path="/livez", Connection="Upgrade", Upgrade="h2c")
    with wire(port) as client:
        client.send(offered * 2000)
        assert [client.hear("GET").status for _ in range(2000)] == [200] * 2000


def test_f9_requests_sent_ahead_without_end_do_not_fill_the_memory(server: Process, port: int):
    memory = psutil.Process(server.process.pid)
    before = memory.memory_info().rss
    with wire(port) as eager:
        eager.socket.settimeout(1)
        with suppress(OSError):  # it is not read any further, or closed
            eager.send(b"GET /livez HTTP/1.1\r\nHost:x\r\n\r\n" * 1_000_000)
        assert memory.memory_info().rss - before < 64 << 20


def test_f9_a_client_that_waits_for_the_word_to_go_on_gets_it(port: int):
    with wire(port) as polite:
        polite.send(head(LENGTH, "Expect: 100-continue"))
        assert polite.readline(99) == b"HTTP/1.1 100 Continue\r\n"
        polite.readline(99)
        polite.send(BODY)
        assert polite.hear().status == 200


def test_f9_a_client_that_waits_with_too_large_a_body_is_refused_before_it(port: int):
    is_refused(ask(port, head("Content-Length: 900000000", "Expect: 100-continue")), 413)


def test_f9_an_absolute_target_is_its_path(port: int):
    assert ask(port, request(BODY, path="http://elsewhere/predict")).status == 200


@pytest.mark.parametrize("offer", ["h2c", "websocket", "x"])
def test_f9_an_offer_to_change_the_protocol_is_passed_over(port: int, offer: str):
    """Java's client offers HTTP/2 with every first request, and sends the body behind it."""
    offered = request(BODY, Connection="Upgrade, HTTP2-Settings", Upgrade=offer, HTTP2_Settings="AAMAAABk")
    with wire(port) as client:
        for _ in range(2):
            client.send(offered)
            assert client.hear().status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/", "//predict", "/predict/", "/./predict", "/../predict", "/%2e%2e/predict", "/predict%00",
        "/predict;a",
        "/%ff%fe", "/%", "/%zz", "/v1/models/other", "/v1/models/other:predict",
        "/v1/models/telco%2f:predict",
        "/v1/models/" + "x" * 5000, "/v1/models/tel%0d%0aSet-Cookie:%20a=b", "/metrics", "/admin",
        "/.git/config",
        "/v1", "/v2", "/v2/models/other/infer", "/v2/repository/index", "/openapi.json/..",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "PROPFIND"])
def test_f10_a_wrong_path_or_method(port: int, method: str, path: str):
    answer = ask(port, request(method=method, path=path), method=method)
    assert answer.status < 500
    assert not {"set-cookie", "x-powered-by", "server"} & set(answer.headers)
    if answer.status >= 400 and method != "HEAD":
        is_refused(answer, 400, 404, 405, 415)


def test_f12_clients_that_leave_cost_nothing_for_long(server: Process, port: int):
    process = psutil.Process(server.process.pid)
    large = request(json.dumps({"records": [RECORD] * 2000}).encode())

    def leave(data: bytes, count: int) -> None:
        for _ in range(count):
            with wire(port) as opened:
                opened.send(data)
                # With a reset, whatever was to come.
                opened.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def leave_in_every_state(count: int) -> None:
        for data in (b"", BODY[:9], request(BODY)[:-5], request(BODY), head(CHUNKED), large[:-9], large):
            leave(data, count)

    leave_in_every_state(20)
    before = process.memory_info().rss, process.num_fds()
    leave_in_every_state(15_000 if THOROUGH else 100)  # in seven states
    deadline = time.monotonic() + 60
    while process.num_fds() > before[1] + 5:
        assert time.monotonic() < deadline, "their connections stay open"
        time.sleep(0.1)
    assert process.memory_info().rss - before[0] < 32 << 20
