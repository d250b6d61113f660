"""Pure: is a status worth a write now, or may it wait for more?"""

from enum import Enum
from typing import Any

from churn_operator.api.conditions import ConditionType

LOUD = {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.PAUSED}


class Urgency(Enum):
    """How soon a status must be written."""

    NONE = "nothing changed"
    QUIET = "only counts, or something on the way to Ready: it may wait for what comes next"
    NEWS = "someone waits for this"


def urgency(previous: dict[str, Any], fresh: dict[str, Any]) -> Urgency:
    """How soon `fresh` must replace `previous`. Transition times alone are no difference."""
    before, after = _conditions(previous), _conditions(fresh)
    if before == after and _rest(previous) == _rest(fresh):
        return Urgency.NONE
    if previous.get("observedGeneration") != fresh.get("observedGeneration") or before.keys() != after.keys():
        return Urgency.NEWS
    changed = [kind for kind in after if before[kind] != after[kind]]
    loud = any(kind in LOUD or after[kind][0] == "False" for kind in changed)
    return Urgency.NEWS if loud else Urgency.QUIET


def _conditions(status: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {
        c["type"]: (c["status"], c["reason"], c["message"], c.get("observedGeneration"))
        for c in status.get("conditions", ())
    }


def _rest(status: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in status.items() if key != "conditions"}
