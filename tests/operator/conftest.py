"""A ChurnModel and its cluster as plain values, built step by step."""

import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from churn_operator.compare import stamped
from churn_operator.decide import Halt, Plan, decide
from churn_operator.desired import Desired, build_desired
from churn_operator.kinds import CONTROLLER_REVISION, DEPLOYMENT, Kind
from churn_operator.observe import Failure, Observed, Pod, trim
from churn_operator.ready import Trouble
from churn_operator.rollback import roll_back
from churn_operator.settings import Settings
from churn_operator.status import Report, build_status

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
UID = "11111111-0000-0000-0000-000000000000"
Json = dict[str, Any]


@dataclass(frozen=True)
class World:
    """What the operator sees of one ChurnModel called telco. Each method gives the next world."""

    spec: Json
    annotations: Json = field(default_factory=dict)
    status: Json = field(default_factory=dict)
    generation: int = 1
    children: dict[Kind, Json] = field(default_factory=dict)
    revisions: tuple[Json, ...] = ()
    pods: tuple[Pod, ...] = ()
    service_account: Json | None = None
    settings: Settings = field(default_factory=Settings)

    def asking(self, **spec: Any) -> "World":
        """The author changes the spec; None removes a field."""
        merged = {key: value for key, value in (self.spec | spec).items() if value is not None}
        return replace(self, spec=merged, generation=self.generation + 1)

    @property
    def observed(self) -> Observed:
        metadata = {
            "namespace": "shop", "name": "telco", "uid": UID, "generation": self.generation,
            "annotations": self.annotations, "resourceVersion": "1",
        }  # fmt: skip
        owned = [*self.children.items(), *((CONTROLLER_REVISION, revision) for revision in self.revisions)]
        return Observed(
            model={"metadata": metadata, "spec": self.spec, "status": self.status},
            children=self.children,
            owned=tuple(owned),
            revisions=self.revisions,
            pods=self.pods,
            service_account=self.service_account,
        )

    @property
    def decision(self) -> Plan | Halt:
        return roll_back(decide(self.observed, self.settings), self.observed, self.settings, NOW)

    @property
    def plan(self) -> Plan:
        decision = self.decision
        assert isinstance(decision, Plan), decision
        return decision

    @property
    def halt(self) -> Halt:
        decision = self.decision
        assert isinstance(decision, Halt), decision
        return decision

    @property
    def desired(self) -> Desired:
        return build_desired(self.plan, self.observed, self.settings)

    def applied(self) -> "World":
        """Everything desired is there, as the API server keeps it."""
        children, revisions = {}, {r["metadata"]["name"]: r for r in self.revisions}
        for kind, child in self.desired.children.items():
            kept = copy.deepcopy(stamped(child))
            kept["metadata"] |= {"uid": f"uid-{kind.kind}", "generation": 1, "resourceVersion": "2"}
            if kind is CONTROLLER_REVISION:
                revisions[kept["metadata"]["name"]] = trim(kept)
            else:
                children[kind] = trim(kept)
        if "replicas" not in children[DEPLOYMENT]["spec"]:
            children[DEPLOYMENT]["spec"]["replicas"] = self.plan.needed
        children[DEPLOYMENT]["status"] = self.children.get(DEPLOYMENT, {}).get("status", {})
        return replace(self, children=children, revisions=tuple(revisions.values()))

    def deployment_says(self, **status: Any) -> "World":
        deployment = self.children[DEPLOYMENT] | {"status": {"observedGeneration": 1} | status}
        return replace(self, children=self.children | {DEPLOYMENT: deployment})

    def with_pod(
        self,
        *,
        ready: bool = False,
        failure: Failure | None = None,
        revision: str | None = None,
        age_seconds: float = 5,
        deleting: bool = False,
    ) -> "World":
        """One more pod; of the wanted revision unless `revision` says otherwise."""
        pod = Pod(
            name=f"telco-{len(self.pods)}",
            uid=f"pod-{len(self.pods)}",
            revision=revision or self.plan.revision.hash,
            created=(NOW - timedelta(seconds=age_seconds)).isoformat().replace("+00:00", "Z"),
            config_digest=None,
            ready=ready,
            deleting=deleting,
            failure=failure,
        )
        return replace(self, pods=(*self.pods, pod))

    def serving(self, replicas: int = 2) -> "World":
        """Rolled out, and so many replicas serve."""
        world = replace(self.applied(), pods=())
        for _ in range(replicas):
            world = world.with_pod(ready=True, age_seconds=600)
        return world.deployment_says(
            replicas=replicas, updatedReplicas=replicas, availableReplicas=replicas
        ).told()

    def report(self, trouble: Trouble | None = None, now: datetime = NOW) -> Report:
        return build_status(self.observed, self.decision, trouble, now)

    def told(self, trouble: Trouble | None = None, now: datetime = NOW) -> "World":
        """The status is written."""
        return replace(self, status=self.report(trouble, now).status)

    def condition(self, kind: str) -> Json:
        found: Json = next((c for c in self.status.get("conditions", ()) if c["type"] == kind), {})
        return found

    def says(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = self.condition(kind)
        return found.get("status", "absent"), found.get("reason", "")


@pytest.fixture
def world() -> World:
    return World(
        spec={
            "model": {"uri": "oci://registry.example/telco:1", "digest": "sha256:" + "a" * 64},
            "decision": {"threshold": 0.4},
            "replicas": 2,
        }
    )


@pytest.fixture
def now() -> datetime:
    return NOW
