"""What streams and gRPC cost the server, beside its plain routes that are asked the same.

Streams are compared by their rate. For gRPC no fast load generator is at hand: what is compared is the CPU
time that a request takes of the server, so that a slow client does not count.
"""

from collections.abc import Callable, Iterator

from churn_dev import questions, wrk
from churn_dev.bench import Figure, in_rounds
from churn_dev.console import step
from churn_dev.grpc_load import call
from churn_dev.served import Served
from churn_dev.wrk import Question, ask_once, load

ROUNDS = 2
CONNECTIONS = 4
MODEL = "telco"


def figures(ours: Served, records: list[questions.Record]) -> Iterator[Figure]:
    """All of them; `ours` speaks gRPC, too."""
    yield from _streams(ours, records)
    yield _grpc(ours, records[:1], 64)
    yield _grpc(ours, records, CONNECTIONS)


def _streams(ours: Served, records: list[questions.Record]) -> Iterator[Figure]:
    url = f"{ours.url}/predict"
    plain = questions.together(url, records)
    for name, stream in (("NDJSON", questions.lines(url, records)), ("Arrow", questions.arrow(url, records))):
        _require_answers(stream, len(records))
        with step(f"{name} stream"):
            pairs = [(load(plain, CONNECTIONS), load(stream, CONNECTIONS)) for _ in range(ROUNDS)]
        ratios = [streamed.rate / told.rate for told, streamed in pairs]
        rows = [streamed.rate * len(records) for _, streamed in pairs]
        what = (
            f"{name} stream of {_rows(records)}, {CONNECTIONS} connections: times the rows a second of JSON"
        )
        yield Figure(what, "", in_rounds(ratios, rows, " rows/s"))


def _require_answers(stream: Question, count: int) -> None:
    """Raises ValueError where a record was not scored: its time would be no figure."""
    answer = ask_once(Question(stream.url, stream.body, {**stream.headers, "Accept": "application/x-ndjson"}))
    if answer.count(b'"probability"') != count:
        raise ValueError(f"not every record of the stream was scored: {answer[-300:]!r}")


def _grpc(ours: Served, records: list[questions.Record], calls: int) -> Figure:
    plain = questions.binary_tensors(f"{ours.url}/v2/models/{MODEL}/infer", records)
    message = questions.infer_message(MODEL, records)
    rounds = []
    with step(f"gRPC, {_rows(records)} a call"):
        for _ in range(ROUNDS):
            told = _cpu_each(ours, lambda: load(plain, calls).rate * wrk.SECONDS)
            called = _cpu_each(ours, lambda: call(ours.grpc_port or 0, message, calls))
            rounds.append((told, called))
    what = (
        f"gRPC ModelInfer of {_rows(records)}, {calls} calls at once: the server's CPU time a call, "
        "times that of V2 binary over HTTP"
    )
    ratios = [called / told for told, called in rounds]
    return Figure(what, "", in_rounds(ratios, [called * 1e6 for _, called in rounds], " us"))


def _cpu_each(ours: Served, ask: Callable[[], float]) -> float:
    """Seconds of the server's CPU for each request, of which `ask` tells the number."""
    before = ours.cpu_seconds
    count = ask()
    return (ours.cpu_seconds - before) / count


def _rows(records: list[questions.Record]) -> str:
    return "1 row" if len(records) == 1 else f"{len(records):,} rows"
