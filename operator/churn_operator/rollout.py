"""Pure: how far the wanted revision has come."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from churn_operator.decide import Plan
from churn_operator.names import REVISION_LABEL
from churn_operator.observe import Failure, Observed, Pod, worst

STARTING_SECONDS = 60
"""A replica younger than this that reports no failure is only starting: scaling never flips Ready."""


@dataclass(frozen=True)
class Rollout:
    """How far the wanted revision has come."""

    plan: Plan
    observed: Observed
    now: datetime
    deployment: dict[str, Any] = field(default_factory=dict)

    @property
    def current(self) -> bool:
        """Whether the Deployment's controller has looked at its present generation."""
        return is_current(self.deployment)

    @property
    def template_wanted(self) -> bool:
        """Whether the Deployment makes pods of the wanted revision."""
        labels = self.deployment.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})
        return bool(labels.get(REVISION_LABEL) == self.plan.revision.hash)

    @property
    def complete(self) -> bool:
        """Whether every pod is known to be of the wanted revision."""
        return self.template_wanted and self.current and self._updated

    @property
    def undisturbed(self) -> bool:
        """As `complete`, but a Deployment just written is not judged before its controller answers."""
        return self.template_wanted and (self._updated or not self.current)

    @property
    def _updated(self) -> bool:
        status = self.deployment.get("status") or {}
        return bool(status.get("updatedReplicas", 0) == status.get("replicas", 0))

    @property
    def available(self) -> int:
        """Available replicas of any revision, as the Deployment's controller counts."""
        return int((self.deployment.get("status") or {}).get("availableReplicas", 0))

    @property
    def serving(self) -> int:
        """Replicas that answer. Pods and Deployment are watched apart: whichever of them is ahead."""
        return max(self.available, sum(pod.ready for pod in self.pods))

    @property
    def pods(self) -> list[Pod]:
        """Pods of the wanted revision that are not stopping."""
        wanted = self.plan.revision.hash
        return [pod for pod in self.observed.pods if pod.revision == wanted and not pod.deleting]

    @property
    def loaded(self) -> bool:
        return any(pod.ready for pod in self.pods)

    @property
    def failure(self) -> Failure | None:
        return worst([pod.failure for pod in self.pods if pod.failure and not pod.ready])

    @property
    def starting(self) -> list[Pod]:
        """Pods that are on their way, by their age."""
        limit = self.now - timedelta(seconds=STARTING_SECONDS)
        return [
            pod
            for pod in self.pods
            if not pod.ready and not pod.failure and datetime.fromisoformat(pod.created) > limit
        ]

    @property
    def timed_out(self) -> bool:
        """Whether this revision had its time and came to nothing."""
        return self.times_out_in is not None and self.times_out_in <= 0

    @property
    def times_out_in(self) -> float | None:
        """Seconds until this revision had its time; None where nothing speaks against it.

        The Deployment's controller may still speak of the revision before: its word is not reset where the
        replicas' set exists already. So it counts once a pod of this revision has had the whole time.
        """
        if not (self.current and self.template_wanted and (self._given_up or self._comes_to_nothing)):
            return None
        if not self.pods:
            return 0
        oldest = min(datetime.fromisoformat(pod.created) for pod in self.pods)
        deadline = int(self.deployment["spec"].get("progressDeadlineSeconds", 0))
        return deadline - (self.now - oldest).total_seconds()

    @property
    def _given_up(self) -> bool:
        return bool(self.deployment_condition("Progressing").get("reason") == "ProgressDeadlineExceeded")

    @property
    def _comes_to_nothing(self) -> bool:
        """Whether it only fails. The Deployment's controller takes each moment of readiness for progress."""
        return not self._updated and self.failure is not None and not self.loaded

    @property
    def unborn(self) -> int:
        """Replicas that the Deployment's controller is about to make; 0 if they are refused."""
        if self.deployment_condition("ReplicaFailure").get("status") == "True":
            return 0
        return max(0, int(self.deployment.get("spec", {}).get("replicas", 1)) - len(self.pods))

    def deployment_condition(self, kind: str) -> dict[str, Any]:
        conditions = (self.deployment.get("status") or {}).get("conditions", ())
        found: dict[str, Any] = next((c for c in conditions if c["type"] == kind), {})
        return found


def is_current(deployment: dict[str, Any] | None) -> bool:
    """Whether the Deployment's controller has looked at its present generation."""
    if not deployment:
        return False
    observed = (deployment.get("status") or {}).get("observedGeneration", 0)
    return bool(observed >= deployment["metadata"].get("generation", 1))
