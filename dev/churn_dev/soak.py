"""`make soak`: a model under load, and all that happens in a cluster happens to it. No request may fail.

A control without preStop and draining has to fail under the same load, or nothing was measured.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from churn_dev import bundles, hasty, release
from churn_dev.bench import Figure
from churn_dev.churnmodel import restricted_namespace
from churn_dev.cluster import down
from churn_dev.console import say, step
from churn_dev.disturb import NAME, Disturbed
from churn_dev.errors import DevError
from churn_dev.kubectl import Kubectl, Object, wait_until
from churn_dev.load import Load, Outcomes
from churn_dev.local import LocalCluster
from churn_dev.locust_load import locust

NAMESPACE = "churn-soak"
DRAIN_SECONDS = 5.0
"""How long a server goes on after SIGTERM: a kept connection unused for so long would miss it."""
LEAST_RATE = 200.0
"""Requests a second that have to be reached, whatever a plan asks for: a thin load would miss moments."""


@dataclass(frozen=True)
class Plan:
    """How often each thing happens, and under what load.

    Attributes:
        rollouts: of the model, and as many of the image.
        drains: of a node.
        scale_downs: from twice the replicas.
        bad_models: bundles that are refused.
        operator_kills: in the middle of a rollout.
        upgrades: from the release before, after going back to it.
        outage_seconds: how long the API server is away, once.
        rate: requests a second, half of them over new connections.
        locust_rate: as many more from Locust; 0 for none.
        requests: least number in all; the load goes on until it is reached.
    """

    rollouts: int = 20
    drains: int = 5
    scale_downs: int = 5
    bad_models: int = 3
    operator_kills: int = 3
    upgrades: int = 3
    outage_seconds: int = 60
    rate: float = 250
    locust_rate: float = 80
    requests: int = 200_000


@dataclass(frozen=True)
class Trial:
    """One kind of disturbance.

    Attributes:
        what: in words.
        times: how often it was done.
        seconds: how long it took in all.
        sent: requests meanwhile.
        failed: those of them that got no 200 of a server.
    """

    what: str
    times: int
    seconds: float
    sent: int
    failed: int


@dataclass(frozen=True)
class Result:
    """What became of every request.

    Attributes:
        trials: in their order.
        outcomes: of the model's requests.
        locust: of those that Locust sent meanwhile; None where it was not asked to.
        control: of the requests to the control.
    """

    trials: list[Trial]
    outcomes: Outcomes
    locust: Outcomes | None
    control: Outcomes

    @property
    def rate(self) -> float:
        """Requests a second over all trials."""
        seconds = sum(each.seconds for each in self.trials)
        return sum(each.sent for each in self.trials) / seconds if seconds else 0.0

    def figures(self) -> Iterator[Figure]:
        """Rows of the table. Where nothing was asked, nothing is met."""
        for each in self.trials:
            said = f"{each.failed} of {each.sent:,} in {each.seconds:.0f} s"
            yield Figure(f"{each.times} x {each.what}", "0 failed", said, each.sent > 0 and not each.failed)
        yield _none_failed("all requests", self.outcomes)
        if self.locust:
            yield _none_failed("beside them, by Locust", self.locust)
        yield Figure(
            "requests a second in all of this", f"≥ {LEAST_RATE:.0f}", f"{self.rate:.1f}",
            self.rate >= LEAST_RATE,
        )  # fmt: skip
        idle = self.outcomes.longest_idle
        yield Figure(
            "longest that a kept connection was not used",
            f"< {DRAIN_SECONDS:.0f} s", f"{idle:.1f} s", idle < DRAIN_SECONDS,
        )  # fmt: skip
        blind = "control, no preStop and no draining"
        yield Figure(blind, "some fail", self.control.describe(), self.control.failed > 0)


def _none_failed(what: str, outcomes: Outcomes) -> Figure:
    return Figure(what, "0 failed", outcomes.describe(), outcomes.sent > 0 and not outcomes.failed)


def run(name: str, work: Path) -> Result:
    """Does it all on the local cluster of that name, which is brought up for it and goes at the end.

    Args:
        name: of the cluster.
        work: directory for the bundles.

    Raises:
        DevError: the cluster is not a local one: its parts cannot be stopped.
    """
    with step("cluster, images, chart"):
        cluster = release.bring_up(name)
    if not isinstance(cluster, LocalCluster):
        raise DevError("the soak stops parts of the cluster: run it with CLUSTER=local")
    try:
        with step("models"):
            models = bundles.publish_models(cluster, work)
        kubectl = Kubectl(cluster.kubeconfig, NAMESPACE)
        kubectl.run("delete", "namespace", NAMESPACE, "--ignore-not-found")
        kubectl.apply(restricted_namespace(NAMESPACE))
        return soak(cluster, kubectl, models, Plan())
    finally:
        down(name)


def soak(cluster: LocalCluster, kubectl: Kubectl, models: bundles.Models, plan: Plan) -> Result:
    """Disturbs one ChurnModel in every way under load, then rolls the control until it fails.

    Args:
        cluster: a local cluster with the chart installed.
        kubectl: in a namespace without a ChurnModel called telco.
        models: the published bundles.
        plan: how much of each.
    """
    body = {"records": [row["record"] for row in models.first.golden_rows()[:3]]}
    model = Disturbed(cluster, kubectl, models)
    load = Load(model.url, body, rate=plan.rate, limit=1_000_000)
    with _beside(model.url, body, plan.locust_rate) as beside, load:
        trials = [
            _trial(load.outcomes, what, times, disturb, model.settle)
            for what, times, disturb in _disturbances(model, plan)
        ]
        wait_until(lambda: load.outcomes.sent >= plan.requests, "enough requests", seconds=900)
    for lost in beside.lost if beside else ():
        say(f"lost, by Locust: {lost}")
    return Result(
        trials, load.outcomes, beside, hasty.roll_until_it_fails(kubectl, NAME, body, rate=plan.rate)
    )


def _beside(url: str, body: Object, rate: float) -> AbstractContextManager[Outcomes | None]:
    return locust(url, body, rate=rate) if rate else nullcontext()


def _disturbances(model: Disturbed, plan: Plan) -> Iterator[tuple[str, int, Callable[[], None]]]:
    yield "rollout of the model", plan.rollouts, model.roll_model
    yield "rollout of the image", plan.rollouts, model.roll_image
    yield "drain of a node", plan.drains, model.drain
    yield "scale down from four to two", plan.scale_downs, model.scale_down
    yield "bad model refused", plan.bad_models, model.try_bad_model
    yield "operator killed in a rollout", plan.operator_kills, model.kill_operator
    yield "release before and back", plan.upgrades, model.go_back_and_upgrade
    outage = partial(model.lose_api_server, plan.outage_seconds)
    yield f"API server away for {plan.outage_seconds} s", 1, outage


def _trial(
    outcomes: Outcomes, what: str, times: int, disturb: Callable[[], None], settle: Callable[[], None]
) -> Trial:
    started, sent, told = time.monotonic(), outcomes.sent, len(outcomes.lost)
    for number in range(1, times + 1):
        with step(f"{what} {number}/{times}"):
            disturb()
            settle()
    for lost in outcomes.lost[told:]:
        say(f"lost: {lost}")
    seconds = time.monotonic() - started
    return Trial(what, times, seconds, outcomes.sent - sent, len(outcomes.lost) - told)
