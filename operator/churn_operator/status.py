"""Pure: (previous status, what was seen, what was decided) → status. Output only."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from churn_operator.api.conditions import BUNDLE_REASONS, ConditionType, Reason
from churn_operator.decide import Halt, Plan
from churn_operator.kinds import AUTOSCALER
from churn_operator.names import REVISION_LABEL, selector, url
from churn_operator.observe import Observed
from churn_operator.ready import Trouble, Verdict, judge_idle, judge_ready
from churn_operator.rollout import STARTING_SECONDS, Rollout

LONGEST_MESSAGE = 32_768
"""As the API bounds it. A spec with a thousand wrong keys has more to say than that."""
AUTOSCALER_PATIENCE_SECONDS = 120
"""An autoscaler without metrics of new pods says so at once and is right a minute later."""


@dataclass(frozen=True)
class Report:
    """The status to show, and after how many seconds time alone may change it."""

    status: dict[str, Any]
    recheck_after: float | None = None


def build_status(observed: Observed, decision: Plan | Halt, trouble: Trouble | None, now: datetime) -> Report:
    """The status of one ChurnModel at `now` (timezone-aware)."""
    if isinstance(decision, Halt) and decision.reason is Reason.PAUSED:
        return Report(_paused(observed, decision, now))
    plan = decision.plan if isinstance(decision, Halt) else decision
    if isinstance(decision, Halt):
        trouble = Trouble(decision.reason, decision.message, stalled=decision.stalled)
    rollout = Rollout(plan, observed, now, observed.deployment or {}) if plan else None
    verdicts = dict(_verdicts(observed, rollout, trouble))
    status: dict[str, Any] = {
        "observedGeneration": observed.generation,
        "replicas": int(((observed.deployment or {}).get("status") or {}).get("replicas", 0)),
        "selector": ",".join(f"{key}={value}" for key, value in selector(observed.name).items()),
        "url": _url(observed, plan),
        **_revisions(observed, rollout, ready=verdicts[ConditionType.READY].status == "True"),
        "conditions": [_condition(kind, verdict, observed, now) for kind, verdict in verdicts.items()],
    }
    return Report(status, _recheck_after(rollout, verdicts))


def _url(observed: Observed, plan: Plan | None) -> str:
    previous = observed.model["status"].get("url")
    if plan is None and previous:  # the spec is not valid: what serves goes on as it did
        return str(previous)
    return url(observed.namespace, observed.name, tls=plan is not None and plan.tls)


def _paused(observed: Observed, halt: Halt, now: datetime) -> dict[str, Any]:
    """The status as it was, and once that it stands still."""
    previous = observed.model["status"]
    conditions = previous.get("conditions", [])
    if any(c["type"] == ConditionType.PAUSED for c in conditions):
        return {**previous}
    paused = _condition(ConditionType.PAUSED, Verdict("True", halt.reason, halt.message), observed, now)
    return {**previous, "conditions": [*conditions, paused]}


def _verdicts(
    observed: Observed, rollout: Rollout | None, trouble: Trouble | None
) -> Iterator[tuple[ConditionType, Verdict]]:
    ready = judge_ready(observed, rollout, trouble)
    yield ConditionType.READY, ready
    if ready.status != "True" and ready.reason not in {Reason.SUSPENDED, Reason.SCALED_TO_ZERO}:
        stalled = _is_stalled(ready, rollout, trouble)
        kind = ConditionType.STALLED if stalled else ConditionType.RECONCILING
        yield kind, Verdict("True", ready.reason, ready.message)
    yield ConditionType.AVAILABLE, _available(observed, rollout)
    yield ConditionType.MODEL_LOADED, _model_loaded(rollout)
    if rollout and rollout.plan.autoscaled:
        yield ConditionType.AUTOSCALING_ACTIVE, _autoscaling(observed, rollout)


def _is_stalled(ready: Verdict, rollout: Rollout | None, trouble: Trouble | None) -> bool:
    """Whether nothing moves before someone changes something."""
    if trouble or rollout is None:
        return trouble is None or trouble.stalled
    return ready.reason in BUNDLE_REASONS | {Reason.ROLLED_BACK} or rollout.timed_out


def _available(observed: Observed, rollout: Rollout | None) -> Verdict:
    status = (observed.deployment or {}).get("status") or {}
    if status.get("availableReplicas", 0) or any(pod.ready and not pod.deleting for pod in observed.pods):
        return Verdict("True", Reason.SERVING, "At least one replica answers")
    idle = judge_idle(rollout, False) if rollout else None
    return idle or Verdict("False", Reason.NO_REPLICA, "No replica answers")


def _model_loaded(rollout: Rollout | None) -> Verdict:
    if rollout is None:
        return Verdict("Unknown", Reason.INVALID_SPEC, "The spec names no valid model")
    if failed := rollout.plan.in_place_of:
        return Verdict("False", failed.reason, failed.message)
    if rollout.loaded:
        return Verdict("True", Reason.LOADED, f"Revision {rollout.plan.revision.hash} is loaded and checked")
    if failure := rollout.failure:
        return Verdict("False", failure.reason, failure.message)
    return Verdict(
        "Unknown", Reason.LOADING, f"No replica of revision {rollout.plan.revision.hash} is ready yet"
    )


def _autoscaling(observed: Observed, rollout: Rollout) -> Verdict:
    autoscaler = observed.children.get(AUTOSCALER, {})
    conditions = (autoscaler.get("status") or {}).get("conditions", ())
    for condition in conditions:
        if condition["type"] in {"ScalingActive", "AbleToScale"} and condition["status"] == "False":
            since = datetime.fromisoformat(condition["lastTransitionTime"])
            if rollout.now - since >= timedelta(seconds=AUTOSCALER_PATIENCE_SECONDS):
                return Verdict("False", condition["reason"], condition.get("message", ""))
    return Verdict("True", Reason.AUTOSCALER_ACTIVE, "The autoscaler owns the number of replicas")


def _recheck_after(rollout: Rollout | None, verdicts: dict[ConditionType, Verdict]) -> float | None:
    """Seconds until a starting replica is late, or an autoscaler's trouble counts."""
    if rollout is None:
        return None
    waits = [] if rollout.times_out_in is None else [rollout.times_out_in]
    if rollout.starting and verdicts[ConditionType.READY].status == "True":
        oldest = min(datetime.fromisoformat(pod.created) for pod in rollout.starting)
        waits.append(STARTING_SECONDS - (rollout.now - oldest).total_seconds())
    autoscaler = rollout.observed.children.get(AUTOSCALER, {})
    for condition in (autoscaler.get("status") or {}).get("conditions", ()):
        if condition["status"] == "False" and condition["type"] in {"ScalingActive", "AbleToScale"}:
            since = datetime.fromisoformat(condition["lastTransitionTime"])
            waits.append(AUTOSCALER_PATIENCE_SECONDS - (rollout.now - since).total_seconds())
    return min((max(wait, 0) + 1 for wait in waits if wait > -1), default=None)


def _revisions(observed: Observed, rollout: Rollout | None, *, ready: bool) -> dict[str, Any]:
    """Which revision is asked for, which one serves, and what bytes that means."""
    previous = observed.model["status"]
    wanted = rollout.plan.asked if rollout else previous.get("revision")
    served = _served(observed, rollout, ready=ready)
    digests = {
        r["metadata"].get("labels", {}).get(REVISION_LABEL): (r.get("data") or {}).get("model") or {}
        for r in observed.revisions
    }
    if served and served in digests:
        model = digests[served]
        digest = model.get("digest") or model.get("uri", "").rpartition("@")[2]
    elif rollout:
        digest = rollout.plan.revision.digest
    else:
        digest = previous.get("digest")
    found = {
        "revision": wanted,
        "servedRevision": served,
        "digest": digest,
        "model": digest.removeprefix("sha256:")[:12] if digest else None,
    }
    return {key: value for key, value in found.items() if value}


def _served(observed: Observed, rollout: Rollout | None, *, ready: bool) -> str | None:
    """The wanted revision once it is rolled out; until then the one before it, while it has a ready pod."""
    wanted = rollout.plan.revision.hash if rollout else observed.model["status"].get("revision")
    answering = sorted({pod.revision for pod in observed.pods if pod.ready and not pod.deleting})
    if ready or (rollout and rollout.complete and wanted in answering):
        return wanted
    before = observed.model["status"].get("servedRevision")
    if before in answering:
        return str(before)
    return next((revision for revision in answering if revision != wanted), None) or (
        wanted if wanted in answering else None
    )


def _condition(kind: ConditionType, verdict: Verdict, observed: Observed, now: datetime) -> dict[str, Any]:
    """The condition; its transition time moves only with its status."""
    previous = observed.model["status"].get("conditions", ())
    before: dict[str, Any] = next(
        (c for c in previous if c["type"] == kind and c["status"] == verdict.status), {}
    )
    stamp = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "type": str(kind),
        "status": verdict.status,
        "observedGeneration": observed.generation,
        "lastTransitionTime": before.get("lastTransitionTime", stamp),
        "reason": str(verdict.reason),
        "message": verdict.message[:LONGEST_MESSAGE],
    }
