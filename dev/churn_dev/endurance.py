"""A million requests to one server: does its memory grow with them?"""

import itertools
import json
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from churn_dev import questions
from churn_dev.bench import Figure, at_most
from churn_dev.console import step
from churn_dev.served import Served, served
from churn_dev.wrk import Question, load, require_wrk

CONNECTIONS = 64
# Pools, caches and histograms fill up with the first of them: in each kind's first round, and for a while.
_WARM = 0.25
_MOST_GROWTH = 2.0  # MB in a million requests: two bytes each


@dataclass(frozen=True)
class Endured:
    """What was seen.

    Attributes:
        seen: requests answered so far and the resident memory then, in MB, after each round.
        kinds: rounds until each kind of request had one.
    """

    seen: Sequence[tuple[int, float]]
    kinds: int = 1

    @property
    def late(self) -> Sequence[tuple[int, float]]:
        """What was seen since each kind had a round, and after the first quarter."""
        total = self.seen[-1][0]
        return [each for each in self.seen[self.kinds - 1 :] if each[0] >= _WARM * total]

    @property
    def growth(self) -> float:
        """MB in a million requests, of what was seen late."""
        counts, memories = zip(*self.late, strict=True)
        return statistics.linear_regression(counts, memories).slope * 1e6

    def figures(self) -> Iterable[Figure]:
        """Beside their goals."""
        total, last = self.seen[-1]
        yield Figure("requests answered, all of them 200", "≥ 1,000,000", f"{total:,}", total >= 1_000_000)
        yield at_most(
            "growth of resident memory in a million requests", self.growth, _MOST_GROWTH, "MB", digits=2
        )
        count, warm = self.late[0]
        yield Figure(f"resident memory after {count:,}, and at the end", "", f"{warm:.1f} and {last:.1f} MB")


def run(bundle: Path, *, requests: int) -> Endured:
    """Ask until there were so many: for a score, for reasons, and in the words of each protocol in turn.

    Raises:
        ValueError: A request was not answered with 200.
    """
    require_wrk()
    with served(bundle) as server:
        kinds = _questions(server.url, bundle)
        asked = itertools.cycle(kinds)
        seen: list[tuple[int, float]] = []
        while not seen or seen[-1][0] < requests:
            with step(f"{seen[-1][0]:,} of {requests:,} requests, {seen[-1][1]:.1f} MB" if seen else "begin"):
                load(next(asked), CONNECTIONS)
            seen.append((_answered(server), server.memory))
    return Endured(seen, len(kinds))


def _questions(url: str, bundle: Path) -> list[Question]:
    records = questions.complete_records(bundle)
    name = json.loads((bundle / "model.json").read_text())["name"]
    return [
        Question(f"{url}/predict", questions.friendly(records[0])),
        Question(f"{url}/v1/models/{name}:predict", json.dumps({"instances": records[:3]}).encode()),
        Question(f"{url}/predict", questions.friendly(records[1], explain=True)),
        Question(f"{url}/v2/models/{name}/infer", _tensors(records[:2])),
        questions.binary_tensors(f"{url}/v2/models/{name}/infer", records[:20]),
    ]


def _tensors(records: list[questions.Record]) -> bytes:
    return json.dumps({"inputs": questions.v2_columns(records)}).encode()


def _answered(server: Served) -> int:
    with urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    return sum(
        int(float(count))
        for count in re.findall(r'^http_requests_total\{.*status="200".*\} (\S+)', text, re.MULTILINE)
    )
