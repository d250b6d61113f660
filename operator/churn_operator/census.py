"""The state of each ChurnModel, told when Prometheus asks: names that come and go leave nothing behind."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from churn_operator.api.conditions import ConditionType, Reason
from churn_operator.metrics import REGISTRY

NEW = "New"
"""No status yet."""
IDLE = "Idle"
"""Asked to run no replica."""
ROLLED_BACK = str(Reason.ROLLED_BACK)
"""Stalled, with the revision before in the place of what the spec asks for."""
_TELLING = (ConditionType.PAUSED, ConditionType.STALLED, ConditionType.READY, ConditionType.RECONCILING)
STATES = (NEW, IDLE, ROLLED_BACK, *map(str, _TELLING))


def state_of(model: dict[str, Any]) -> str:
    """One word for a ChurnModel's status: one of STATES."""
    conditions = {each["type"]: each for each in model["status"].get("conditions", ())}
    for kind in _TELLING:
        if conditions.get(kind, {}).get("status") == "True":
            return ROLLED_BACK if conditions[kind]["reason"] == Reason.ROLLED_BACK else str(kind)
    idle = conditions.get(ConditionType.READY, {}).get("reason") in {Reason.SUSPENDED, Reason.SCALED_TO_ZERO}
    return IDLE if idle else NEW


class Census(Collector):
    """ChurnModels by state, and one by one up to a number. `of` attaches the ChurnModels."""

    def __init__(self) -> None:
        self._models: Callable[[], Iterable[dict[str, Any]]] = tuple
        self._most = 0

    def of(self, models: Callable[[], Iterable[dict[str, Any]]], most: int) -> None:
        """Counts `models()` from now on, and tells at most `most` by name, those that are not Ready first."""
        self._models, self._most = models, most

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        states = sorted(
            ((state_of(model), model["metadata"]) for model in self._models()),
            key=lambda each: (each[0] == ConditionType.READY, each[1]["namespace"], each[1]["name"]),
        )
        counts = Counter(state for state, _ in states)
        total = GaugeMetricFamily("churn_operator_churnmodels", "ChurnModels by state.", labels=["state"])
        for state in STATES:
            total.add_metric([state], counts[state])
        yield total
        single = GaugeMetricFamily(
            "churn_operator_churnmodel_state",
            "1 for the state of each ChurnModel, those that are not Ready first.",
            labels=["model_namespace", "model", "state"],
        )
        for state, metadata in states[: self._most]:
            single.add_metric([metadata["namespace"], metadata["name"], state], 1)
        yield single
        yield GaugeMetricFamily(
            "churn_operator_churnmodels_untold",
            "ChurnModels that are counted by state only: there are more than the setting metrics_models.",
            value=max(0, len(states) - self._most),
        )


CENSUS = Census()
REGISTRY.register(CENSUS)
