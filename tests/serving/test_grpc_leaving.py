"""A gRPC server leaves while clients ask: no call is lost, and none waits for what will not come."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import grpc
import pytest

from churn_serving.server.oip.frames import GOAWAY, Frames

from .asgi import Process, served
from .conftest import SAMPLE
from .test_grpc import PATIENT, SERVICE, WAIT, connected, first_error

ASKING = 8
SETTINGS, PING = b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x08\x06\0\0\0\0\0" + b"12345678"
HEAD, MORE_OF_IT = b"\0\0\x02\x01\0\0\0\0\x01ab", b"\0\0\x01\x09\x04\0\0\0\x01c"
DATA = b"\0\x01\0\0\0\0\0\0\x01" + b"d" * 256
SENT = SETTINGS + PING + HEAD + MORE_OF_IT + DATA


def test_what_is_sent_stays_what_it_is_wherever_it_is_cut():
    for size in range(1, len(SENT) + 1):
        frames = Frames()
        assert b"".join(frames.take(SENT[at : at + size]) for at in range(0, len(SENT), size)) == SENT


@pytest.mark.parametrize(
    ("unanswered", "places"),
    [
        (False, [SENT.removesuffix(DATA), SENT]),
        (True, [SETTINGS, SETTINGS + PING, SENT.removesuffix(DATA), SENT]),
    ],
)
def test_a_goaway_stands_between_frames_and_behind_an_answer_or_the_settings(
    unanswered: bool, places: list[bytes]
):
    for cut in range(len(SENT) + 1):
        frames = Frames()
        sent = frames.take(SENT[:cut]) + frames.turn_away(unanswered=unanswered) + frames.take(SENT[cut:])
        before, _, after = sent.partition(GOAWAY)
        assert before + after == SENT
        assert before in places


def address(*servers: Process) -> str:
    return "ipv4:" + ",".join(f"127.0.0.1:{server.ready['grpc_port']}" for server in servers)


@contextmanager
def two_servers(drain_seconds: float) -> Iterator[tuple[Process, Process]]:
    environment = {"CHURN_DRAIN_SECONDS": str(drain_seconds)}
    with ExitStack() as stack:
        start = lambda: stack.enter_context(  # noqa: E731
            served("--model", SAMPLE, "--grpc-port", 0, environment=environment)
        )
        yield start(), start()


def asking(call: Callable[[], object], outcomes: Counter[str], enough: threading.Event) -> threading.Thread:
    """Asks on and on, each time when the last was answered."""

    def ask() -> None:
        while not enough.is_set():
            try:
                call()
            except grpc.RpcError as error:
                outcomes[f"{error.code().name}: {error.details()}"] += 1
            else:
                outcomes["OK"] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_no_call_is_lost_on_connections_that_are_kept_or_new_while_a_server_leaves():
    outcomes: Counter[str] = Counter()
    enough = threading.Event()
    options = [("grpc.use_local_subchannel_pool", 1)]
    with two_servers(1) as (leaving, staying):
        target = address(leaving, staying)
        with grpc.insecure_channel(target, options) as kept:

            def on_the_kept() -> None:
                kept.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=WAIT)

            def on_a_new_one() -> None:
                with grpc.insecure_channel(target, options) as fresh:
                    fresh.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=WAIT)

            calls = [on_the_kept] * ASKING + [on_a_new_one] * 2
            threads = [asking(call, outcomes, enough) for call in calls]
            first_answered = outcomes["OK"]
            leaving.process.send_signal(signal.SIGTERM)
            assert leaving.process.wait(WAIT) == 0
            before = outcomes["OK"]
            while outcomes["OK"] < before + ASKING:
                enough.wait(0.05)
            enough.set()
            for thread in threads:
                thread.join()
    assert set(outcomes) == {"OK"}
    assert outcomes["OK"] > first_answered


def test_who_connects_as_the_port_closes_is_answered_or_refused_at_once():
    environment = PATIENT | {"CHURN_DRAIN_SECONDS": "0.5"}
    with served("--model", SAMPLE, "--grpc-port", 0, environment=environment) as server:
        begun, release = threading.Event(), threading.Event()

        def slow() -> Iterator[bytes]:
            begun.set()
            release.wait(WAIT)
            yield b""

        with connected(server) as kept:
            in_flight = kept.stream_unary(f"/{SERVICE}/ServerLive").future(slow(), timeout=WAIT)
            assert begun.wait(WAIT)
            kept.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=WAIT)
            server.process.send_signal(signal.SIGTERM)

            def ask_anew() -> None:
                with connected(server) as fresh:
                    fresh.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=WAIT)

            with ExitStack() as stack:
                told: list[grpc.StatusCode] = []
                threads = [
                    threading.Thread(target=lambda: told.append(first_error(ask_anew).code()))
                    for _ in range(ASKING)
                ]
                for thread in threads:
                    thread.start()
                    stack.callback(thread.join)
            assert told == [grpc.StatusCode.UNAVAILABLE] * ASKING
            release.set()
            assert in_flight.result(WAIT)
            assert server.process.wait(WAIT) == 0
