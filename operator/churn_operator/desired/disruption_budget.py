from typing import Any

from churn_operator.desired.metadata import build_child
from churn_operator.kinds import DISRUPTION_BUDGET
from churn_operator.names import selector
from churn_operator.observe import Observed


def build_disruption_budget(observed: Observed) -> dict[str, Any]:
    """Drains take one replica at a time, broken ones freely: one that never gets ready must hold no node."""
    return build_child(
        DISRUPTION_BUDGET,
        observed,
        spec={
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector(observed.name)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    )
