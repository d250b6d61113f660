"""One connection to the traffic port: what is whole at once is answered without a task, and as ever."""

import asyncio
import gc
import itertools
import json
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
from uvicorn.server import ServerState

from churn_serving.model import Model
from churn_serving.server.app import TrafficApp
from churn_serving.server.run import build_server
from churn_serving.server.short_way import ScoringConnection
from churn_serving.server.state import Serving

from .test_server_routes import GOLDEN, serving_of

RECORD = GOLDEN[0]["record"]
PREDICT_V1 = "/v1/models/telco:predict"


class Running(NamedTuple):
    """The traffic port's application on a free port of the loopback, in this event loop."""

    port: int
    serving: Serving
    state: ServerState

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, *parts: bytes) -> bytes:
        """The answer to one request; each part of it is on its way before the next is sent."""
        reader, writer = await self.open()
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.005)
        answer = await answer_of(reader)
        writer.close()
        return answer


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"content-length: (\d+)", head)
        return head + await reader.readexactly(int(length))


@pytest.fixture
async def running(steep_model: Model) -> AsyncIterator[Running]:
    async with running_on(serving_of(steep_model, max_body_bytes=100_000, inline_bytes=20_000)) as running:
        yield running


@asynccontextmanager
async def running_on(serving: Serving) -> AsyncIterator[Running]:
    serving._prediction_ids = itertools.count(1 << 20)  # all of one length
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    config = build_server(TrafficApp(serving), serving, ScoringConnection).config
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: ScoringConnection(serving, config, state, {}, loop), "127.0.0.1", 0
    )
    yield Running(server.sockets[0].getsockname()[1], serving, state)
    server.close()
    for connection in list(state.connections):
        connection.shutdown()
    await server.wait_closed()


def body_of(*records: Any, key: str = "records", **keys: Any) -> bytes:
    return json.dumps({key: records, **keys}).encode()


def request(body: bytes, path: str = "/predict", *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers]
    if not any(header.startswith("Content-Type") for header in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode() + body


def without_ids(answer: bytes) -> bytes:
    """Prediction ids count on; all else is the request's."""
    return re.sub(rb'"prediction_id":"[^"]+"', b"", answer)


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answer)]


ASKED = {
    "a record": request(body_of(RECORD)),
    "many records": request(body_of(*[RECORD] * 30)),
    "reasons": request(body_of(RECORD, explain=5)),
    "V1": request(body_of(RECORD, key="instances"), PREDICT_V1),
    "V1 explain": request(body_of(RECORD, key="instances"), "/v1/models/telco:explain"),
    "a wrong column": request(body_of(RECORD | {"tenure": "x"})),
    "a wrong column in V1": request(body_of({}, key="instances"), PREDICT_V1),
    "no probability": request(body_of(RECORD | {"tenure": -1.6e38})),
    "no probability in V1": request(body_of(RECORD | {"tenure": -1.6e38}, key="instances"), PREDICT_V1),
    "broken JSON": request(b"{"),
    "no body": request(b""),
    "a form": request(body_of(RECORD), "/predict", "Content-Type: application/x-www-form-urlencoded"),
    "compressed": request(body_of(RECORD), "/predict", "Content-Encoding: gzip"),
    "a large body": request(body_of(*[RECORD] * 60)),
    "too large a body": request(body_of(*[RECORD] * 300)),
    "an escaped path": request(body_of(RECORD), "/pre%64ict"),
    "a query": request(body_of(RECORD), "/predict?a=b"),
    "another path": request(body_of(RECORD), "/predictions"),
    "close": request(body_of(RECORD), "/predict", "Connection: close"),
    "upgrade": request(body_of(RECORD), "/predict", "Connection: upgrade", "Upgrade: h2c"),
    "HTTP/1.0": request(body_of(RECORD), version="1.0"),
    "HTTP/1.0, kept": request(body_of(RECORD), "/predict", "Connection: keep-alive", version="1.0"),
    "in chunks": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
    + b"%x\r\n%b\r\n0\r\n\r\n"
    % (len(body_of(RECORD)), body_of(RECORD)),
    "a broken chunk": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nx\r\n",
    "a type after the body": b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\nContent-Type: application/json\r\n\r\n",
    "no host": request(body_of(RECORD)).replace(b"Host: x\r\n", b""),
    "two hosts": request(body_of(RECORD), "/predict", "Host: y"),
    "a wrong host": request(body_of(RECORD)).replace(b"Host: x", b"Host: x/y"),
    "two codings": request(body_of(RECORD)).replace(
        b"Content-Length", b"Transfer-Encoding: gzip, chunked\r\nX"
    ),
    "a length and chunks": request(body_of(RECORD), "/predict", "Transfer-Encoding: chunked"),
    "too large a head": request(body_of(RECORD), "/predict", "X: " + "x" * 70_000),
    "a full URL": request(body_of(RECORD), "http://x/predict"),
    "no URL": request(body_of(RECORD), "http://x:99999"),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_a_request_gets_the_same_answer_whole_and_in_pieces(running: Running, asked: bytes):
    await answer_whole_and_in_pieces(running, asked)


async def answer_whole_and_in_pieces(running: Running, asked: bytes) -> bytes:
    """The answer, which is the same however the request comes."""
    head = asked.index(b"\r\n\r\n") + 4
    whole = await running.ask(asked)
    assert len(statuses(whole)) == 1
    for cuts in ([head], [7, head + 1], [head - 1, len(asked) - 1]):
        edges = [0, *cuts, len(asked)]
        pieces = [asked[start:end] for start, end in itertools.pairwise(edges)]
        assert without_ids(await running.ask(*pieces)) == without_ids(whole)
    return whole


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("no host", 400),
        ("two hosts", 400),
        ("a wrong host", 400),
        ("two codings", 400),
        ("a length and chunks", 400),
        ("a broken chunk", 400),
        ("too large a head", 431),
        ("a type after the body", 415),
        ("upgrade", 200),
    ],
)
async def test_a_head_is_judged_before_the_short_way_is_taken(running: Running, kind: str, status: int):
    assert statuses(await running.ask(ASKED[kind])) == [status]


class Started(set[Any]):
    """Keeps the tasks that uvicorn forgets."""

    def discard(self, _task: object) -> None:
        pass


async def test_a_whole_request_needs_no_task_of_its_own(running: Running):
    running.state.tasks = Started()
    for kind, tasks in (("a record", 0), ("reasons", 0), ("no probability", 0), ("a wrong column", 1)):
        await running.ask(ASKED[kind])
        assert (kind, len(running.state.tasks)) == (kind, tasks)


async def test_requests_sent_ahead_are_answered_in_their_order(running: Running):
    asked = {
        "a record": 200,
        "a wrong column": 422,
        "reasons": 200,
        "another path": 404,
        "a large body": 200,
        "V1": 200,
        "no probability": 422,
        "close": 200,
    }
    reader, writer = await running.open()
    writer.write(b"".join(ASKED[kind] for kind in asked))
    assert statuses(await asyncio.wait_for(reader.read(), 20)) == list(asked.values())
    writer.close()


async def test_a_client_that_sends_thousands_ahead_gets_every_answer_in_order(running: Running):
    reader, writer = await running.open()
    asked = b"".join(request(body_of(RECORD | {"customerID": number})) for number in range(3000))
    writer.write(asked)
    found: list[int] = []
    answered = b""
    while len(found) < 3000:
        answered += await asyncio.wait_for(reader.read(1 << 16), 20)
        whole, _, answered = answered.rpartition(b"}]}")
        found += [int(number) for number in re.findall(rb'"id":(\d+)', whole)]
    assert found == list(range(3000))
    writer.close()


async def test_each_request_is_counted_once(running: Running):
    for kind in ("a record", "no probability", "a wrong column"):
        await running.ask(ASKED[kind])
    metrics = running.serving.metrics
    metrics.fold()
    assert metrics.requests == {("/predict", "POST", 200): 1, ("/predict", "POST", 422): 2}
    assert metrics.errors == {"unscorable_records": 1, "invalid_records": 1}
    _, counts = running.serving.batcher(running.serving.table.routes[0])
    assert sum(counts.probability.counts) == 1
    assert metrics.request_bytes["/predict"].total == sum(
        len(ASKED[kind].partition(b"\r\n\r\n")[2])
        for kind in ("a record", "no probability", "a wrong column")
    )


async def test_while_draining_what_was_sent_ahead_is_answered_and_the_connection_closed(running: Running):
    running.serving.draining = True
    reader, writer = await running.open()
    writer.write(ASKED["a record"] * 2)
    answer = await asyncio.wait_for(reader.read(), 20)
    assert statuses(answer) == [200, 200]
    assert answer.count(b"\r\nconnection: close\r\n") == 1
    assert answer.rindex(b"HTTP/1.1") < answer.index(b"\r\nconnection: close\r\n")
    writer.close()


async def test_a_connection_asked_to_leave_answers_what_it_has_read(running: Running):
    reader, writer = await running.open()
    writer.write(ASKED["a record"])
    await answer_of(reader)
    (connection,) = running.state.connections
    connection.data_received(ASKED["a record"])
    connection.shutdown()
    answer = await asyncio.wait_for(reader.read(), 20)
    assert statuses(answer) == [200]
    assert b"\r\nconnection: close\r\n" in answer
    writer.close()


async def test_a_connection_that_is_used_now_and_then_is_not_idle(running: Running):
    """However alike its requests are to whoever looks."""
    reader, writer = await running.open()
    for second in range(200):
        for _ in range(2):
            writer.write(ASKED["a record"])
            await answer_of(reader)
        (connection,) = running.state.connections
        connection.look(float(second))
    assert not connection.transport.is_closing()
    connection.look(200 + running.serving.settings.keep_alive_seconds)
    assert await asyncio.wait_for(reader.read(), 20) == b""
    writer.close()


async def test_a_client_that_is_gone_before_its_answer_leaves_the_others_theirs(running: Running):
    reader, writer = await running.open()
    writer.write(ASKED["a record"])
    await answer_of(reader)
    (connection,) = running.state.connections
    connection.data_received(ASKED["a record"])
    connection.transport.abort()
    answer, none = await asyncio.gather(running.ask(ASKED["a record"]), reader.read())
    assert (statuses(answer), none) == ([200], b"")
    writer.close()


async def test_a_failure_inside_is_a_500_without_the_customers_data(
    running: Running, monkeypatch: pytest.MonkeyPatch, capfd: Any
):
    def fail(matrix: object) -> None:
        raise RuntimeError("SECRET")

    batcher, _ = running.serving.batcher(running.serving.table.routes[0])
    monkeypatch.setattr(batcher, "_call", fail)
    answer = await running.ask(ASKED["a record"])
    assert statuses(answer) == [500]
    assert b'"code":"internal"' in answer
    assert "SECRET" not in answer.decode() + "".join(capfd.readouterr())


async def test_a_large_body_waits_for_the_worker_while_a_probe_and_a_small_one_are_answered(running: Running):
    busy = threading.Event()
    occupied = asyncio.create_task(running.serving.aside(partial(busy.wait, 60)))
    waiting = asyncio.create_task(running.ask(request(body_of(*[RECORD] * 60))))
    try:
        probe = await running.ask(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        small = await running.ask(request(body_of(RECORD)))
        assert [answer.split()[1] for answer in (probe, small)] == [b"200", b"200"]
        assert not waiting.done()
    finally:
        busy.set()
        await occupied
    assert len(json.loads((await waiting).partition(b"\r\n\r\n")[2])["predictions"]) == 60


async def test_g5_connections_that_are_closed_leave_nothing_to_collect(running: Running):
    """Collections are seldom: what waits for one is memory that grows with each connection."""
    whole = request(json.dumps({"records": [RECORD]}).encode())
    ways = [[], [whole], [whole[:-5], whole[-5:]], [whole[:-5]], [whole[:9]], [b"no HTTP\r\n\r\n"]]
    gc.collect()
    gc.disable()
    try:
        for parts in ways:
            _, writer = await running.open()
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.05)
            writer.transport.abort()
        async with asyncio.timeout(60):
            while any(isinstance(each, ScoringConnection) for each in gc.get_objects()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        gc.enable()
