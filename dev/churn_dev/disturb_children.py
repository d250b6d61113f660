"""Children deleted and edited behind the operator's back, and how soon each is what it should be again."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from churn_dev import fleet
from churn_dev.audit import AuditLog, Request
from churn_dev.kubectl import Object
from churn_dev.local import LocalCluster
from churn_operator.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SERVICE,
    Kind,
)
from churn_operator.runtime.client import MERGE_PATCH, Client

DISTURBANCES: dict[Kind, Object] = {
    CONFIG_MAP: {"data": {"serving.json": "{}"}},
    CONTROLLER_REVISION: {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}},
    NETWORK_POLICY: {"spec": {"policyTypes": ["Ingress"]}},
    SERVICE: {"spec": {"selector": {"churnops.io/model": "another"}}},
    DISRUPTION_BUDGET: {"spec": {"maxUnavailable": 7}},
    AUTOSCALER: {"spec": {"maxReplicas": 9}},
    DEPLOYMENT: {"spec": {"progressDeadlineSeconds": 7}},
}
"""What an edit of each kind changes. A ControllerRevision's data cannot be changed at all."""
APART_SECONDS = 0.4
"""Between disturbances, so that each finds the operator at rest."""


@dataclass(frozen=True)
class Repair:
    """A child that was disturbed, and seconds until it was written again; None where it never was."""

    kind: Kind
    verb: str
    seconds: float | None


def disturb(cluster: LocalCluster, audit_log: Path, namespace: str, tries: int, count: int) -> list[Repair]:
    """Deletes and edits `tries` children of each kind, of as many of the `count` ChurnModels as there are."""
    done, written = AuditLog(audit_log, fleet.AGENT), AuditLog(audit_log, "churn-operator/")

    async def act(client: Client) -> None:
        for number, (kind, verb) in enumerate(_order(tries)):
            name = f"telco-{number % count:04}"
            if kind is CONTROLLER_REVISION:
                (name,) = await _revisions(client, namespace, name)
            if verb == "delete":
                uid = (await client.get(kind, namespace, name))["metadata"]["uid"]
                await client.delete(kind, namespace, name, uid)
            else:
                change = DISTURBANCES[kind]
                await client.patch(kind, namespace, name, change, fleet.AGENT, content_type=MERGE_PATCH)
            await asyncio.sleep(APART_SECONDS)
        await asyncio.sleep(2)

    fleet.measure(cluster.kubeconfig, act)
    answers = written.writes()
    return [_repair(each, answers) for each in done.writes()]


def _order(tries: int) -> Iterator[tuple[Kind, str]]:
    for _ in range(tries):
        for kind in DISTURBANCES:
            for verb in ("delete", "patch"):
                yield kind, verb


async def _revisions(client: Client, namespace: str, model: str) -> list[str]:
    items, _ = await client.list(
        CONTROLLER_REVISION, namespace, f"churnops.io/model={model}", metadata_only=True
    )
    return [item["metadata"]["name"] for item in items]


def _repair(disturbance: Request, answers: list[Request]) -> Repair:
    """The first write of the operator to the same object that ended after the disturbance did."""
    times = [
        each.ended - disturbance.ended
        for each in answers
        if (each.resource, each.name) == (disturbance.resource, disturbance.name)
        and each.code < 300
        and each.ended > disturbance.ended
    ]
    kind = next(kind for kind in DISTURBANCES if kind.plural == disturbance.resource)
    return Repair(kind, disturbance.verb, min(times, default=None))
