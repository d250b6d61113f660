"""Pure: is the wanted revision rolled out and available, and if not, why? An ordered list of checks."""

from collections.abc import Callable
from dataclasses import dataclass

from churn_operator.api.conditions import ConditionType, Reason
from churn_operator.observe import Observed
from churn_operator.rollout import Rollout


@dataclass(frozen=True)
class Trouble:
    """The API server would not take a child. `stalled`: not before someone changes something."""

    reason: str
    message: str
    stalled: bool


@dataclass(frozen=True)
class Verdict:
    """A condition's status, reason and message."""

    status: str
    reason: str
    message: str


def judge_ready(observed: Observed, rollout: Rollout | None, trouble: Trouble | None) -> Verdict:
    """The verdict on Ready. `rollout` is None where the spec is invalid."""
    if trouble or rollout is None:
        known = trouble or Trouble(Reason.INVALID_SPEC, "", stalled=True)
        return Verdict("False", known.reason, known.message)
    was_ready = _was_ready(observed, rollout.plan.revision.hash)
    verdicts = (check(rollout, was_ready) for check in READY_CHECKS)
    return next(verdict for verdict in verdicts if verdict)


def judge_idle(rollout: Rollout, _: bool) -> Verdict | None:
    """No replica is asked for, so none is missed; and none serves."""
    if rollout.plan.spec.suspend:
        return Verdict("False", Reason.SUSPENDED, "spec.suspend is true: no replica runs")
    if not rollout.plan.needed:
        return Verdict("False", Reason.SCALED_TO_ZERO, "spec.replicas is 0: no replica runs")
    return None


def _rolled_back(rollout: Rollout, _: bool) -> Verdict | None:
    """What the spec asks for failed; something else runs, and will until the spec asks for something else."""
    failed = rollout.plan.in_place_of
    if failed is None:
        return None
    message = (
        f"Revision {failed.revision} failed ({failed.reason}: {failed.message}); revision "
        f"{rollout.plan.revision.hash} runs in its place until model, image or serving change in the spec"
    )
    return Verdict("False", Reason.ROLLED_BACK, message)


def _serves(rollout: Rollout, was_ready: bool) -> Verdict | None:
    """Enough replicas serve; what was enough stays so while the missing ones are only starting."""
    needed = rollout.plan.needed
    if was_ready and rollout.undisturbed and rollout.serving:
        enough = rollout.serving + len(rollout.starting) + rollout.unborn >= needed
    else:
        enough = rollout.complete and rollout.serving >= needed
    return Verdict("True", Reason.READY, f"Revision {rollout.plan.revision.hash} serves") if enough else None


def _fails(rollout: Rollout, _: bool) -> Verdict | None:
    """A pod of the wanted revision says why it does not serve."""
    failure = rollout.failure
    return Verdict("False", failure.reason, failure.message) if failure else None


def _pods_refused(rollout: Rollout, _: bool) -> Verdict | None:
    refused = rollout.deployment_condition("ReplicaFailure")
    if refused.get("status") != "True":
        return None
    return Verdict("False", Reason.PODS_REFUSED, str(refused.get("message", "")))


def _lost(rollout: Rollout, was_ready: bool) -> Verdict | None:
    if not (was_ready and rollout.complete):
        return None
    message = f"Revision {rollout.plan.revision.hash} has too few available replicas"
    return Verdict("False", Reason.REPLICAS_UNAVAILABLE, message)


def _late(rollout: Rollout, _: bool) -> Verdict | None:
    if not rollout.timed_out:
        return None
    message = f"Revision {rollout.plan.revision.hash} made no progress before its deadline"
    return Verdict("False", Reason.PROGRESS_DEADLINE_EXCEEDED, message)


def _rolls_out(rollout: Rollout, _: bool) -> Verdict | None:
    message = f"Waiting for replicas of revision {rollout.plan.revision.hash}"
    return Verdict("False", Reason.ROLLING_OUT, message)


ReadyCheck = Callable[[Rollout, bool], Verdict | None]
READY_CHECKS: tuple[ReadyCheck, ...] = (
    judge_idle,
    _rolled_back,
    _serves,
    _fails,
    _pods_refused,
    _lost,
    _late,
    _rolls_out,
)
"""The first of these that says something is the verdict on Ready; the last one always does."""


def _was_ready(observed: Observed, revision: str) -> bool:
    previous = observed.model["status"]
    ready = any(
        c["type"] == ConditionType.READY and c["status"] == "True" for c in previous.get("conditions", ())
    )
    return ready and previous.get("revision") == revision
