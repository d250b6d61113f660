"""Nobody who asks while the server leaves is turned away, however late they learn that it does."""

import contextlib
import http.client
import signal
import socket
import time

import pytest

from .asgi import Process, served
from .conftest import SAMPLE
from .test_server_process import BODY, JSON, connection
from .wire import request, wire

WINDOW = 0.3
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
WAYS = {
    "a length": request(BODY),
    "chunks": request(Transfer_Encoding="chunked", Content_Length=None) + CHUNKS,
    "waiting to be told to go on": request(BODY, Expect="100-continue"),
    "HTTP/1.0": request(BODY, Connection="keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "closing": request(BODY, Connection="close"),
}
BRIEF = {"CHURN_DRAIN_SECONDS": str(WINDOW), "CHURN_DEADLINE_SECONDS": "300"}


def ask(connected: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connected.request("POST", "/predict", BODY, JSON)
    answer = connected.getresponse()
    answer.read()
    return answer


def begin_to_leave(server: Process) -> None:
    server.process.send_signal(signal.SIGTERM)
    assert server.next_event()["event"] == "draining"


def listens_no_more(server: Process) -> None:
    """Waits for that: until then each that connects is accepted."""
    deadline = time.monotonic() + 60
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            socket.create_connection(("127.0.0.1", server.ready["port"]), timeout=60).close()
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_client_that_rests_for_longer_than_the_window_is_answered_and_told():
    with served("--model", SAMPLE, environment=BRIEF) as server, connection(server) as kept:
        ask(kept)
        begin_to_leave(server)
        time.sleep(WINDOW + 1)
        answer = ask(kept)
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        assert server.process.wait(60) == 0


def test_those_whom_a_late_load_balancer_sends_are_answered_as_long_as_somebody_is_there():
    with served("--model", SAMPLE, environment=BRIEF) as server, connection(server) as kept:
        ask(kept)
        begin_to_leave(server)
        time.sleep(WINDOW + 1)
        for _ in range(10):
            with connection(server) as late:
                assert ask(late).status == 200
        ask(kept)
        assert server.process.wait(60) == 0


def test_it_leaves_long_before_its_deadline_when_nobody_asks():
    with served("--model", SAMPLE, environment=BRIEF) as server:
        assert server.end() == 0


def test_a_client_that_rests_for_ever_does_not_keep_it():
    environment = {"CHURN_DRAIN_SECONDS": str(WINDOW), "CHURN_DEADLINE_SECONDS": "2"}
    with served("--model", SAMPLE, environment=environment) as server, connection(server) as kept:
        ask(kept)
        assert server.end() == 0
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            ask(kept)


def test_a_connection_that_has_just_been_opened_gets_its_first_answer():
    with served("--model", SAMPLE, environment=BRIEF) as server, connection(server) as fresh:
        with connection(server) as later:
            ask(later)  # by now the one opened before is accepted
        server.process.send_signal(signal.SIGINT)
        listens_no_more(server)
        answer = ask(fresh)
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        assert server.process.wait(60) == 0


def test_requests_that_were_sent_ahead_are_all_answered_and_the_last_is_told():
    with served("--model", SAMPLE, environment=BRIEF) as server, wire(server.ready["port"]) as opened:
        begin_to_leave(server)
        opened.send(request(BODY) * 5 + request(BODY)[:40])
        time.sleep(0.3)  # all are answered but the one that is not whole
        opened.send(request(BODY)[40:] + request(method="GET", path="/ready"))
        heard = [opened.hear() for _ in range(7)]
        assert [(each.status, each.headers.get("connection")) for each in heard] == [
            *[(200, None)] * 6,
            (503, "close"),
        ]
        assert server.process.wait(60) == 0


def test_a_request_that_has_begun_to_come_when_the_server_closes_is_answered():
    with served("--model", SAMPLE, environment=BRIEF) as server, wire(server.ready["port"]) as opened:
        opened.send(request(BODY))
        opened.hear()
        opened.send(request(BODY)[:40])
        server.process.send_signal(signal.SIGINT)
        listens_no_more(server)
        opened.send(request(BODY)[40:])
        answer = opened.hear()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert server.process.wait(60) == 0


def test_requests_that_began_before_the_signal_are_answered_however_they_are_sent():
    with served("--model", SAMPLE, environment=BRIEF) as server, contextlib.ExitStack() as stack:
        begun = {way: stack.enter_context(wire(server.ready["port"])) for way in WAYS}
        for way, opened in begun.items():
            opened.send(WAYS[way][:-20])
        begin_to_leave(server)
        time.sleep(WINDOW + 1)
        for way, opened in begun.items():
            opened.send(WAYS[way][-20:])
        heard = {way: opened.hear() for way, opened in begun.items()}
        assert {
            way: (each.status, each.headers["connection"]) for way, each in heard.items()
        } == dict.fromkeys(WAYS, (200, "close"))
        assert server.process.wait(60) == 0
