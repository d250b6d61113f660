"""Pure: a revision that failed gives way to the one that answers, until the spec asks for another.

The newest ControllerRevision says what runs. Where that is not what the spec asks for, an annotation on it
says in whose place it runs and why: so a restart of the operator forgets nothing, and any later revision,
which is then the newest, ends it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from churn_operator.api.conditions import Reason
from churn_operator.decide import Failed, Halt, Plan, find_objection
from churn_operator.names import IN_PLACE_OF_ANNOTATION
from churn_operator.observe import Failure, Observed
from churn_operator.revision import Revision, read_revision
from churn_operator.rollout import Rollout
from churn_operator.settings import Settings

_HASH = re.compile(r"[0-9a-f]+")
_REASON = re.compile(r"[A-Za-z]+")


def roll_back(decision: Plan | Halt, observed: Observed, settings: Settings, now: datetime) -> Plan | Halt:
    """The decision; where the revision that it asks for failed, with the one that runs in its place."""
    if isinstance(decision, Halt) or decision.spec.rollback == "manual":
        return decision
    return _held(decision, observed, settings) or _given_up(decision, observed, settings, now) or decision


def _held(plan: Plan, observed: Observed, settings: Settings) -> Plan | None:
    """What was rolled back stays so while the spec asks for the same revision."""
    if not observed.history:
        return None
    newest = observed.history[0]
    failed = _read_mark((newest["metadata"].get("annotations") or {}).get(IN_PLACE_OF_ANNOTATION))
    if not failed or failed.revision != plan.revision.hash:
        return None
    revision = read_revision(newest)
    return _stood_in(plan, revision, failed, observed, settings) if revision else None


def _given_up(plan: Plan, observed: Observed, settings: Settings, now: datetime) -> Plan | None:
    """The deadline passed, and another revision answers."""
    rollout = Rollout(plan, observed, now, observed.deployment or {})
    if not (plan.needed and rollout.pods and rollout.timed_out):
        return None
    cause = rollout.failure or Failure(Reason.PROGRESS_DEADLINE_EXCEEDED, "no replica became ready in time")
    failed = Failed(plan.revision.hash, cause.reason, cause.message)
    plans = (_stood_in(plan, revision, failed, observed, settings) for revision in _answering(plan, observed))
    return next((found for found in plans if found), None)


def _answering(plan: Plan, observed: Observed) -> Iterator[Revision]:
    """Other revisions that have a ready replica, the newest first."""
    answering = {pod.revision for pod in observed.pods if pod.ready and not pod.deleting}
    for record in observed.history:
        revision = read_revision(record)
        if revision and revision.hash in answering - {plan.revision.hash}:
            yield revision


def _stood_in(
    plan: Plan, revision: Revision, failed: Failed, observed: Observed, settings: Settings
) -> Plan | None:
    """The plan with `revision`, if that may run: a record is no way around what a spec is held to."""
    account = revision.serving.service_account_name
    if account not in {None, plan.spec.serving.service_account_name}:
        return None  # only the account that the spec names was looked at
    found = replace(plan, revision=revision, in_place_of=failed)
    return None if find_objection(observed, found, settings) else found


def _read_mark(text: str | None) -> Failed | None:
    """What the annotation says; None where there is none or somebody made it something else."""
    try:
        said = json.loads(text or "")
        revision, reason, message = said["revision"], said["reason"], said["message"]
        sound = _HASH.fullmatch(revision) and _REASON.fullmatch(reason) and isinstance(message, str)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Failed(revision, reason, message) if sound else None
