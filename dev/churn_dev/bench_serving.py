"""`churn-dev bench-serving`: the scoring server beside a bare echo and other people's servers, in one run.

Each server has the first core to itself while it is asked, and the load generator the second. Only ratios are
stated: the machine's speed is in both. Those compared take turns: what slows the machine slows both.
"""

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from churn_dev import bench_peers, bench_wire, questions
from churn_dev.bench import Figure, in_rounds, serving_start
from churn_dev.console import step
from churn_dev.served import Served, served
from churn_dev.wrk import Load, Question, ask_once, load, require_wrk

ECHO, PEER = (f"http://127.0.0.1:{port}" for port in (18090, 18100))
CORE = 0
ROUNDS = 5
PEER_ROUNDS = 3
DRIFT_ROUNDS = 14
"""What drift may cost is less than what two rounds differ by."""


def run(bundle: Path) -> list[Figure]:
    """Measures everything with the bundle served by this environment."""
    require_wrk()
    records = questions.complete_records(bundle)
    with served(bundle, core=CORE) as ours:
        with _running([sys.executable, "-m", "churn_dev.echo", _port(ECHO)], ECHO):
            figures = list(_beside_the_echo(ours, records[0]))
        with served(bundle, core=CORE, drift=False) as without:
            figures.append(_cost_of_drift(ours, without, records[0]))
        figures += _beside_peers(ours, records)
    with served(bundle, core=CORE, grpc_port=0) as ours:
        figures += bench_wire.figures(ours, records)
    return [*figures, *serving_start(bundle)]


def _beside_the_echo(ours: Served, record: questions.Record) -> Iterator[Figure]:
    body = questions.friendly(record)
    for connections, goal in ((64, 0.80), (16, 0.60)):
        yield _share_of_echo(
            ours, f"one raw record a request, {connections} connections", body, connections, goal
        )
    with step("1 connection"):
        pairs = _in_turns(_predict(ECHO, body), _predict(ours.url, body), 1, ROUNDS)
    ratios = [mine.median / echo.median for echo, mine in pairs]
    yield Figure(
        "one connection: median time to the answer, times the echo's",
        "≤ 2", in_rounds(ratios, [mine.median * 1e6 for _, mine in pairs], " us"),
        statistics.median(ratios) <= 2,
    )  # fmt: skip
    yield _share_of_echo(
        ours, "the same with reasons, 64 connections", questions.friendly(record, explain=True), 64, 0.40
    )


def _share_of_echo(ours: Served, what: str, body: bytes, connections: int, goal: float) -> Figure:
    with step(what):
        pairs = _in_turns(_predict(ECHO, body), _predict(ours.url, body), connections, ROUNDS)
    return _at_least(f"{what}: share of the echo's rate", f"{goal:.2f}", pairs, goal)


def _cost_of_drift(ours: Served, without: Served, record: questions.Record) -> Figure:
    body = questions.friendly(record)
    with step("with and without drift"):
        pairs = _in_turns(_predict(without.url, body), _predict(ours.url, body), 64, DRIFT_ROUNDS)
    return _at_least("counting drift, 64 connections: share of the rate without it", "0.97", pairs, 0.97)


def _beside_peers(ours: Served, records: list[questions.Record]) -> Iterator[Figure]:
    best = float("inf")
    for peer in bench_peers.PEERS:
        with step(f"beside {peer.title}"), _running(peer.command(_port(PEER)), PEER):
            bench_peers.require_probability(peer, ask_once(peer.question(PEER, records[:1])))
            asked = _predict(ours.url, questions.friendly(records[0]))
            pairs = _in_turns(peer.question(PEER, records[:1]), asked, 64, PEER_ROUNDS)
            if peer.name == "mlserver":
                yield _tensors_beside(ours, peer, records)
        ratios = [mine.rate / theirs.rate for theirs, mine in pairs]
        best = min(best, statistics.median(ratios))
        what = f"one raw record a request, 64 connections: times the rate of {peer.title}"
        yield Figure(what, "", in_rounds(ratios, [theirs.rate for theirs, _ in pairs], "/s there"))
    yield Figure("the same, times the best of them", "> 100", f"{best:.0f}", best > 100)


def _tensors_beside(ours: Served, peer: bench_peers.Peer, records: list[questions.Record]) -> Figure:
    """MLServer refuses the binary extension (422), so it is asked in JSON, its own form."""
    asked = questions.binary_tensors(f"{ours.url}/v2/models/telco/infer", records)
    ask_once(asked)
    pairs = _in_turns(peer.question(PEER, records), asked, 4, PEER_ROUNDS)
    what = f"{len(records):,} rows a request, V2 binary: times the rows a second of {peer.title} (JSON)"
    return _at_least(what, "5", pairs, 5)


def _at_least(what: str, shown_goal: str, pairs: list[tuple[Load, Load]], goal: float) -> Figure:
    ratios = [ours.rate / theirs.rate for theirs, ours in pairs]
    measured = in_rounds(ratios, [ours.rate for _, ours in pairs], "/s")
    return Figure(what, f"≥ {shown_goal}", measured, statistics.median(ratios) >= goal)


def _in_turns(theirs: Question, ours: Question, connections: int, rounds: int) -> list[tuple[Load, Load]]:
    return [(load(theirs, connections), load(ours, connections)) for _ in range(rounds)]


def _predict(server: str, body: bytes) -> Question:
    return Question(f"{server}/predict", body)


def _port(server: str) -> str:
    return server.rpartition(":")[2]


@contextmanager
def _running(command: list[str | Path], server: str) -> Iterator[None]:
    process = subprocess.Popen(
        ["taskset", "-c", str(CORE), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not _listens(int(_port(server))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"{command[-2]} does not listen on {server}")
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
