"""One pass over one ChurnModel: observe → decide → desired → apply and prune → status, whatever happened."""

import time
from dataclasses import dataclass, field
from typing import Any

import structlog

from churn_operator.api.conditions import Reason
from churn_operator.api.v1alpha1 import parse_spec
from churn_operator.apply import Writer
from churn_operator.caches import Caches, Key
from churn_operator.decide import Halt, Plan, decide
from churn_operator.desired import build_desired
from churn_operator.errors import (
    InvalidSpecError,
    NameConflictError,
    NamespaceEndingError,
    NotFoundError,
    RefusedError,
    UnprocessableError,
    VanishedError,
)
from churn_operator.events import EventPoster, transition
from churn_operator.kinds import SERVICE_ACCOUNT
from churn_operator.names import PAUSED_ANNOTATION
from churn_operator.news import Urgency, urgency
from churn_operator.observe import Observed, is_going
from churn_operator.ready import Trouble
from churn_operator.rollback import roll_back
from churn_operator.rollout import is_current
from churn_operator.runtime.client import Client
from churn_operator.settings import Settings
from churn_operator.status import build_status

log = structlog.get_logger()

RECHECK_SECONDS = 30.0
"""How often something outside our watches is looked at again: an account's label, a name's owner."""
ANSWER_SECONDS = 1.0
"""The Deployment's controller answers a write in milliseconds; a status from before that is written twice."""
QUIET_SECONDS = 5.0
"""Least time between status writes that nobody waits for."""
SPEC_SECONDS = 1.0
"""Least time between specs that are taken up: one that is edited ten times a second rolls out once."""


@dataclass
class _Memory:
    """Times (monotonic) that only save requests: losing them with the process is harmless."""

    wrote_children: float = -1e9
    wrote_status: float = -1e9
    took_up: float = -1e9
    generation: int = 0

    def wait_for(self, generation: int) -> float:
        """Seconds until the spec of `generation` may be taken up; from 0 on it counts as taken up."""
        now = time.monotonic()
        if generation != self.generation:
            if (wait := self.took_up + SPEC_SECONDS - now) > 0:
                return wait
            self.generation, self.took_up = generation, now
        return 0


@dataclass
class Reconciler:
    """Reconciles ChurnModels by key."""

    client: Client
    caches: Caches
    writer: Writer
    events: EventPoster
    settings: Settings
    _memories: dict[Key, _Memory] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> float | None:
        """One pass.

        Returns:
            Seconds after which time alone asks for another pass; None if only a change does.

        Raises:
            ApiError: Something passing went wrong: try again.
        """
        observed = await self._observe(key)
        if observed is None or is_going(observed.model):
            self._memories.pop(key, None)
            self.writer.forget(key)
            return None
        try:
            return await self._pass(key, observed)
        except VanishedError:
            return None  # the caches know it by now

    async def _pass(self, key: Key, observed: Observed) -> float | None:
        memory = self._memories.setdefault(key, _Memory())
        if (wait := memory.wait_for(observed.generation)) > 0:
            return wait
        decision = roll_back(decide(observed, self.settings), observed, self.settings, self.client.now())
        trouble: Trouble | None = None
        began = time.monotonic()
        if isinstance(decision, Plan):
            try:
                trouble = await self._carry_out(decision, observed, memory)
            except NamespaceEndingError:
                return RECHECK_SECONDS
        recheck = RECHECK_SECONDS if _needs_recheck(decision, trouble) else None
        if trouble or memory.wrote_children >= began:
            observed = self.caches.observe(key, observed.service_account) or observed
        return _earliest(recheck, await self._report(observed, decision, trouble, memory))

    async def _observe(self, key: Key) -> Observed | None:
        observed = self.caches.observe(key)
        name = _account_name(observed.model) if observed else None
        if observed is None or name is None:
            return observed
        try:
            account: dict[str, Any] | None = await self.client.get(SERVICE_ACCOUNT, key[0], name)
        except NotFoundError:
            account = None
        return self.caches.observe(key, account)

    async def _carry_out(self, plan: Plan, observed: Observed, memory: _Memory) -> Trouble | None:
        desired = build_desired(plan, observed, self.settings)
        try:
            if await self.writer.carry_out(plan, desired, observed):
                memory.wrote_children = time.monotonic()
        except NameConflictError as error:
            return Trouble(error.reason, str(error), stalled=error.reason == Reason.NAME_CONFLICT)
        except UnprocessableError as error:
            return Trouble(Reason.INVALID_SPEC, error.message, stalled=True)
        except NamespaceEndingError:
            raise
        except RefusedError as error:
            return Trouble(Reason.APPLY_REFUSED, error.message, stalled=False)
        return None

    async def _report(
        self, observed: Observed, decision: Plan | Halt, trouble: Trouble | None, memory: _Memory
    ) -> float | None:
        """Writes the status if it is worth it; seconds until the next look otherwise."""
        previous = observed.model["status"]
        report = build_status(observed, decision, trouble, self.client.now())
        how_soon = urgency(previous, report.status)
        if how_soon is Urgency.NONE:
            return report.recheck_after
        if (wait := self._wait(how_soon, observed, decision, trouble, memory)) > 0:
            return _earliest(wait, report.recheck_after)
        await self.writer.write_status(observed, report.status)
        memory.wrote_status = time.monotonic()
        if told := transition(previous, report.status):
            log.info(
                "Status changed",
                namespace=observed.namespace,
                name=observed.name,
                reason=told[0],
                detail=told[1],
            )
            self.events.post(observed, *told)
        return report.recheck_after

    @staticmethod
    def _wait(
        how_soon: Urgency, observed: Observed, decision: Plan | Halt, trouble: Trouble | None, memory: _Memory
    ) -> float:
        """Seconds to hold a status back, so that what follows in a moment is written with it."""
        if trouble or isinstance(decision, Halt):
            return 0
        now = time.monotonic()
        answer = memory.wrote_children + ANSWER_SECONDS - now if _awaits_answer(observed) else 0.0
        quiet = memory.wrote_status + QUIET_SECONDS - now if how_soon is Urgency.QUIET else 0.0
        return max(answer, quiet)


def _awaits_answer(observed: Observed) -> bool:
    """Whether the Deployment's controller is about to say something."""
    deployment = observed.deployment or {}
    wanted = deployment.get("spec", {}).get("replicas", 1)
    return not is_current(deployment) or deployment["status"].get("replicas", 0) < wanted


def _needs_recheck(decision: Plan | Halt, trouble: Trouble | None) -> bool:
    reasons = {Reason.SERVICE_ACCOUNT_NOT_ALLOWED, Reason.NAME_CONFLICT, Reason.WAITING_FOR_REMOVAL}
    return trouble is not None or (isinstance(decision, Halt) and decision.reason in reasons)


def _account_name(model: dict[str, Any]) -> str | None:
    if model["metadata"].get("annotations", {}).get(PAUSED_ANNOTATION) == "true":
        return None
    serving = model["spec"].get("serving")
    if not (isinstance(serving, dict) and "serviceAccountName" in serving):
        return None
    try:
        return parse_spec(model).serving.service_account_name
    except InvalidSpecError:
        return None


def _earliest(*seconds: float | None) -> float | None:
    return min((s for s in seconds if s is not None), default=None)
