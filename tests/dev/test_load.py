"""The load generator keeps every outcome: an answer, an error status, no answer at all."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from churn_dev.background import Background
from churn_dev.kubectl import wait_until
from churn_dev.load import KEPT, STRANGER, Load
from churn_dev.locust_load import locust

STRANGE = (
    b"<html><body><h1>Welcome</h1></body></html>", b"", b"{", b"\xff\xfe", b"[7]", b'{"model": "telco"}',
    b'{"version": ["7"]}',
)  # fmt: skip
"""What may come with a 200 from a proxy, or from a server that is not ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        assert isinstance(server, _Server)
        with server.counting:  # others answer meanwhile: each third is one of its own number
            server.requests += 1
            number = server.requests
            server.connections[self.client_address[1]] += 1
        server.answering.wait()
        body = server.body  # once: a test may change it meanwhile
        self.send_response(503 if number % 3 == 0 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of five, a busy machine resets what Locust's users open at once
    requests = 0
    body = json.dumps({"version": "7"}).encode()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections: Counter[int] = Counter()
        self.counting = threading.Lock()
        self.answering = threading.Event()
        self.answering.set()

    @property
    def used_again(self) -> int:
        """Connections that had more than one request."""
        with self.counting:
            return sum(times > 1 for times in self.connections.values())


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_every_outcome_is_kept(server: _Server) -> None:
    with Load(f"http://127.0.0.1:{server.server_port}", {}, rate=200) as load:
        wait_until(lambda: server.requests >= 30, "30 requests")
    outcomes = load.outcomes
    assert outcomes.sent == server.requests
    assert outcomes.statuses[503] == server.requests // 3
    assert outcomes.failed == outcomes.statuses[503]
    assert outcomes.versions["7"] == outcomes.statuses[200]
    assert [lost.how for lost in outcomes.lost] == ["HTTP 503"] * outcomes.failed


def test_half_of_the_requests_take_a_new_connection(server: _Server) -> None:
    with Load(f"http://127.0.0.1:{server.server_port}", {}, rate=100) as load:
        wait_until(lambda: server.requests >= 40 and server.used_again, "40 requests")
    assert load.outcomes.sent // 2 <= len(server.connections) < load.outcomes.sent


def test_every_kept_connection_is_used_in_turn(server: _Server) -> None:
    """One that rests would not notice that its pod went away."""
    with Load(f"http://127.0.0.1:{server.server_port}", {}, rate=100) as load:
        wait_until(lambda: server.requests >= 8 * KEPT, "several uses of each")
    new = load.outcomes.sent // 2
    assert len(server.connections) - new >= KEPT
    assert load.outcomes.longest_idle > 0


def test_connections_beside_the_kept_ones_end_with_their_request(server: _Server) -> None:
    """One more that was kept would come to rest, unnoticed, and be lost with its pod."""
    server.answering.clear()
    with Load(f"http://127.0.0.1:{server.server_port}", {}, rate=200) as load:
        wait_until(lambda: len(server.connections) > 4 * KEPT, "requests that wait side by side")
        waiting = server.requests
        server.answering.set()
        wait_until(
            lambda: server.requests >= waiting + 8 * KEPT and server.used_again >= KEPT,
            "several uses of each kept one",
        )
    assert server.used_again == KEPT
    assert load.outcomes.failed == load.outcomes.statuses[503]


def test_a_request_that_is_lost_says_when_and_over_what(server: _Server) -> None:
    with Load(f"http://127.0.0.1:{server.server_port}", {}, rate=200) as load:
        wait_until(lambda: len({"new" in str(lost) for lost in load.outcomes.lost}) == 2, "some of each")
    assert all(0 < time.time() - lost.at < 600 for lost in load.outcomes.lost)


def test_a_refused_connection_is_a_failure_and_not_an_exception() -> None:
    with Load("http://127.0.0.1:9", {}, rate=100) as load:
        wait_until(lambda: load.outcomes.failed >= 5, "5 failures")
    assert set(load.outcomes.failures) == {"ClientConnectorError"}


@pytest.mark.parametrize("body", STRANGE)
def test_a_200_of_somebody_else_is_lost_and_the_load_goes_on(server: _Server, body: bytes) -> None:
    own, server.body = server.body, body
    with Load(f"http://127.0.0.1:{server.server_port}", {}, rate=200) as load:
        wait_until(lambda: load.outcomes.failures[STRANGER] >= 5, "answers that are none")
        server.body = own
        wait_until(lambda: load.outcomes.versions["7"] >= 5, "answers of the server")
    outcomes = load.outcomes
    assert outcomes.sent == server.requests
    assert outcomes.versions.total() == outcomes.statuses[200]
    assert len(outcomes.lost) == outcomes.failed == outcomes.failures[STRANGER] + outcomes.statuses[503]
    assert {lost.how.partition(":")[0] for lost in outcomes.lost} <= {STRANGER, "HTTP 503"}


class _Ended(Background):
    async def _run(self) -> None:
        raise ConnectionError("what it was told to ask is gone")


def test_what_ends_early_beside_a_block_is_told_where_the_block_ends() -> None:
    with pytest.raises(ConnectionError, match="is gone"), _Ended("ended"):
        pass


def test_the_limit_ends_the_load(server: _Server) -> None:
    with Load(f"http://127.0.0.1:{server.server_port}", {}, rate=500, limit=20) as load:
        wait_until(lambda: load.outcomes.sent == 20, "the limit")
    assert server.requests == 20


def test_locust_keeps_every_outcome_too(server: _Server) -> None:
    with locust(f"http://127.0.0.1:{server.server_port}/predict", {}, rate=100) as outcomes:
        wait_until(lambda: server.requests >= 100, "100 requests")
    assert outcomes.sent == server.requests
    assert outcomes.failed == outcomes.statuses[503] == len(outcomes.lost) == server.requests // 3
    assert KEPT < len(server.connections) < outcomes.sent


def test_locust_too_counts_a_200_of_somebody_else_as_lost(server: _Server) -> None:
    server.body = STRANGE[0]
    with locust(f"http://127.0.0.1:{server.server_port}/predict", {}, rate=100) as outcomes:
        wait_until(lambda: server.requests >= 30, "30 requests")
    assert outcomes.failed == outcomes.sent == len(outcomes.lost) == server.requests
    assert outcomes.failures == {STRANGER: server.requests - outcomes.statuses[503]}


def test_locust_counts_refused_connections() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as gone:
        url = f"http://127.0.0.1:{gone.server_port}/predict"
    with locust(url, {}, rate=100) as outcomes:
        pass  # it has asked before
    assert outcomes.sent == outcomes.failed == outcomes.failures["ConnectionRefusedError"] > 0
