"""Events on transitions of a ChurnModel. Best effort: nothing waits for them and nothing fails with them."""

import asyncio
from datetime import datetime
from typing import Any

import structlog

from churn_operator.api.conditions import ConditionType, Reason
from churn_operator.digests import digest_of
from churn_operator.errors import ApiError
from churn_operator.kinds import CHURN_MODEL, EVENT
from churn_operator.names import FIELD_MANAGER
from churn_operator.observe import Observed
from churn_operator.runtime.client import Client

log = structlog.get_logger()

NOTE_LIMIT = 1024
CALM = {
    Reason.READY,
    Reason.ROLLING_OUT,
    Reason.SUSPENDED,
    Reason.SCALED_TO_ZERO,
    Reason.PAUSED,
    Reason.WAITING_FOR_REMOVAL,
}
"""Reasons that are nothing to warn of."""


def transition(previous: dict[str, Any], fresh: dict[str, Any]) -> tuple[str, str] | None:
    """Reason and note of the event that the change from one status to the next is worth, if any. Pure."""
    for kind in (ConditionType.PAUSED, ConditionType.READY):
        before, after = _condition(previous, kind), _condition(fresh, kind)
        if after and (before.get("status"), before.get("reason")) != (after["status"], after["reason"]):
            return after["reason"], after["message"]
    return None


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next((c for c in status.get("conditions", ()) if c["type"] == kind), {})
    return found


class EventPoster:
    """Posts events in the background."""

    def __init__(self, client: Client, instance: str) -> None:
        self._client = client
        self._instance = instance
        self._posting: set[asyncio.Task[None]] = set()

    def post(self, observed: Observed, reason: str, note: str) -> None:
        """Tells of `observed` that `reason`; Warning unless the reason is a calm one."""
        event = build_event(observed, reason, note, self._instance, self._client.now())
        task = asyncio.create_task(self._post_event(event))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _post_event(self, event: dict[str, Any]) -> None:
        try:
            await self._client.create(EVENT, event, FIELD_MANAGER)
        except ApiError as error:
            log.info("Event not posted", namespace=event["metadata"]["namespace"], error=error.message)


def build_event(observed: Observed, reason: str, note: str, instance: str, now: datetime) -> dict[str, Any]:
    """An event of events.k8s.io/v1 about a ChurnModel at `now` (UTC)."""
    moment = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    name = f"{observed.name}.{digest_of([observed.uid, reason, moment])}"
    return EVENT.named(observed.namespace, name) | {
        "eventTime": moment,
        "reportingController": "churnops.io/churn-operator",
        "reportingInstance": instance[:128],
        "action": "Reconcile",
        "reason": reason,
        "note": note[:NOTE_LIMIT],
        "type": "Normal" if reason in CALM else "Warning",
        "regarding": {
            "apiVersion": CHURN_MODEL.api_version,
            "kind": CHURN_MODEL.kind,
            "namespace": observed.namespace,
            "name": observed.name,
            "uid": observed.uid,
        },
    }
