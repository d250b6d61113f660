"""Restarts behind a load balancer, one server of two after the other, under load: no request may fail."""

import json
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from churn_dev.balancer import Balancer
from churn_dev.bench import Figure
from churn_dev.console import step
from churn_dev.load import Load, Outcomes
from churn_dev.served import end, start


@dataclass(frozen=True)
class Restarts:
    """What became of the requests.

    Attributes:
        count: restarts.
        drain_seconds: how long each server at least went on to serve.
        outcomes: of all requests.
        control: of requests while a server was killed, as if there were no draining.
    """

    count: int
    drain_seconds: float
    outcomes: Outcomes
    control: Outcomes

    def figures(self) -> Iterable[Figure]:
        """Beside their goals."""
        failed, idle = self.outcomes.failed, self.outcomes.longest_idle
        yield Figure(
            f"{self.count} restarts behind a balancer", "0 failed", self.outcomes.describe(), failed == 0
        )
        yield Figure(
            "longest that a kept connection was not used", f"< {self.drain_seconds:g} s", f"{idle:.1f} s",
            idle < self.drain_seconds,
        )  # fmt: skip
        yield Figure(
            "control, killed without draining", "some fail", self.control.describe(), self.control.failed > 0
        )


def run(bundle: Path, *, count: int, drain_seconds: float, rate: float = 200) -> Restarts:
    """Replace the older of two servers `count` times: its successor is ready before it is told to leave.

    Half of the requests come over new connections, half over kept ones.
    """
    with _balanced(bundle, drain_seconds) as balancer:
        with Load(f"{balancer.url}/predict", _body(bundle), rate=rate) as load:
            for number in range(1, count + 1):
                with step(f"restart {number} of {count}"):
                    _replace(balancer, bundle, drain_seconds, signal.SIGTERM)
        with Load(f"{balancer.url}/predict", _body(bundle), rate=rate) as control, step("control"):
            for _ in range(5):
                _replace(balancer, bundle, drain_seconds, signal.SIGKILL)
                if control.outcomes.failed:
                    break
    return Restarts(count, drain_seconds, load.outcomes, control.outcomes)


@contextmanager
def _balanced(bundle: Path, drain_seconds: float) -> Iterator[Balancer]:
    balancer = Balancer(*(start(bundle, drain_seconds=drain_seconds) for _ in range(2)))
    try:
        with balancer:
            yield balancer
    finally:
        for member in balancer.members:
            end(member)


def _replace(balancer: Balancer, bundle: Path, drain_seconds: float, number: signal.Signals) -> None:
    oldest, *others = balancer.members
    balancer.members = (oldest, *others, start(bundle, drain_seconds=drain_seconds))
    end(oldest, number)
    balancer.members = balancer.members[1:]


def _body(bundle: Path) -> dict[str, object]:
    with (bundle / "golden.jsonl").open() as rows:
        return {"records": [json.loads(next(rows))["record"]]}
