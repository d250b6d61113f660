"""What may happen to a ChurnModel, drawn at random: its author, others, its kubelets, its operator's API."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from churn_dev.fault_proxy import Call, Fault, pass_on
from churn_operator.errors import ApiError
from churn_operator.kinds import (
    AUTOSCALER,
    CHILD_KINDS,
    CHURN_MODEL,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    POD,
    SERVICE,
)
from churn_operator.names import MODEL_LABEL, PAUSED_ANNOTATION

from .trial import BAD, DIGEST, SPEC, Json, Trial
from .ways import ONLY_WRITES, PHASES, WAYS, held_back

FAULTY_SHARE = 0.1
"""Of the requests, while the API server has its bad days. More would only teach how long backoffs are."""
LATE_SECONDS = 2.0
MODELS = (
    *({"uri": f"oci://registry.example/telco:{number}", "digest": DIGEST} for number in range(4)),
    {"uri": "oci://registry.example/telco:0", "digest": DIGEST, "credentialsSecret": "renamed"},
    {"uri": "s3://bucket/telco", "digest": DIGEST, "credentialsSecret": "store"},
)
SERVING = (
    None,
    {"podLabels": {"team": "growth"}, "grpc": True},
    {"auth": {"apiKeysSecret": "keys"}},
    {"auth": {"apiKeysSecret": "other-keys"}, "nodeSelector": {"disk": "ssd"}},
    {"tls": {"secretName": "certificate"}},
    {"resources": {"requests": {"cpu": "10m"}, "limits": {"cpu": "1000m", "memory": "128Mi"}}},
)
FIELDS: dict[str, tuple[Any, ...]] = {
    "model": MODELS,
    "decision": (None, {"threshold": 0.3}, {"threshold": 0.6}, {"capacity": 0.1}),
    "replicas": (0, 1, 2, 3),
    "autoscaling": (
        None,
        *(
            {"minReplicas": least, "maxReplicas": most, "targetCPUUtilizationPercentage": 70}
            for least, most in ((1, 1), (1, 3), (2, 4), (3, 5))
        ),
    ),
    "suspend": (True, False),
    "rollback": ("automatic", "manual"),
    "progressDeadlineSeconds": (None, 300),
    "serving": SERVING,
}
TAMPERINGS: tuple[tuple[Any, Json], ...] = (
    *((kind, {"metadata": {"labels": {MODEL_LABEL: None}}}) for kind in CHILD_KINDS),
    *((kind, {"metadata": {"labels": {MODEL_LABEL: "other"}}}) for kind in CHILD_KINDS),
    *((kind, {"metadata": {"annotations": {"churnops.io/desired": "x"}}}) for kind in CHILD_KINDS),
    (CONFIG_MAP, {"data": {"serving.json": "{}", "more": "x"}}),
    (CONTROLLER_REVISION, {"revision": 99}),
    (DEPLOYMENT, {"spec": {"replicas": 4}}),
    (DEPLOYMENT, {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}),
    (DEPLOYMENT, {"spec": {"template": {"spec": {"hostNetwork": True, "nodeSelector": {"more": "x"}}}}}),
    (SERVICE, {"spec": {"type": "NodePort"}}),
    (SERVICE, {"spec": {"type": "ExternalName", "externalName": "elsewhere.example"}}),
    (SERVICE, {"spec": {"selector": {"more": "x"}}}),
    (SERVICE, {"spec": {"ports": [{"name": "ssh", "port": 22}]}}),
    (SERVICE, {"spec": {"ports": [{"port": 22}]}}),
    (NETWORK_POLICY, {"spec": {"ingress": [{}], "policyTypes": ["Ingress"]}}),
    (DISRUPTION_BUDGET, {"spec": {"maxUnavailable": None, "minAvailable": 1}}),
    (AUTOSCALER, {"spec": {"maxReplicas": 90}}),
    (CHURN_MODEL, {"status": {"conditions": None, "revision": "abc"}}),
)  # fmt: skip
"""What others write over, and where. All of it is put right."""
Happening = Callable[[], Awaitable[None]]


@dataclass
class Course:
    """The course of one ChurnModel: `chance` decides what happens, `luck` which requests fail meanwhile.

    They are two, so that the story (`told`) is the same each time however many requests there are.
    """

    trial: Trial
    name: str
    chance: Random
    luck: Random
    spec: Json = field(default_factory=lambda: json.loads(json.dumps(SPEC)))
    told: list[str] = field(default_factory=list)
    bad_day: bool = False
    doomed: str = ""

    def choose(self, call: Call) -> Fault:
        """What becomes of a request: some fail while it is a bad day, and at one write the operator dies."""
        if call.is_watch:
            return held_back(LATE_SECONDS) if self.bad_day and self.luck.random() < 0.5 else pass_on
        if self.doomed and call.is_write:
            phase, self.doomed = self.doomed, ""
            return PHASES[phase](self.trial)
        if not self.bad_day or self.luck.random() > FAULTY_SHARE:
            return pass_on
        way = self.luck.choice(sorted(WAYS if call.is_write else WAYS.keys() - ONLY_WRITES))
        return WAYS[way]

    async def run(self, length: int) -> None:
        """So many happenings, soon after one another; then all is well again, and asked for once more."""
        self.trial.proxy.choose = self.choose
        await self._ask()
        happenings: tuple[tuple[int, Happening], ...] = (
            (8, self._edit), (2, self._fail), (1, self._remake), (1, self._pause), (1, self._scale),
            (3, self._delete_child), (4, self._tamper), (2, self._autoscale), (1, self._delete_pod),
            (2, self._die), (2, self._change_weather), (1, self._cut),
        )  # fmt: skip
        weights, choices = zip(*happenings, strict=True)
        for _ in range(length):
            (happens,) = self.chance.choices(choices, weights)
            self.told.append(happens.__name__.lstrip("_"))
            await happens()
            await asyncio.sleep(self.chance.choice((0.0, 0.05, 0.3, 1.0)))
        self.bad_day, self.doomed = False, ""
        self.trial.proxy.cut_all()
        await self._come_to_good()

    # The author.

    async def _ask(self) -> None:
        await self.trial.apply(
            {key: value for key, value in self.spec.items() if value is not None}, self.name
        )

    async def _edit(self) -> None:
        """Some fields at once."""
        for name in self.chance.sample(sorted(FIELDS), self.chance.choice((1, 1, 2, 3))):
            self.spec[name] = self.chance.choice(FIELDS[name])
        self.told[-1] += f" {self.spec}"
        await self._ask()

    async def _fail(self) -> None:
        """A model whose replicas never get ready."""
        self.spec |= {"model": BAD, "progressDeadlineSeconds": 1}
        await self._ask()

    async def _remake(self) -> None:
        await self.trial.delete(CHURN_MODEL, self.name)
        await self._ask()

    async def _pause(self) -> None:
        paused = self.chance.choice(("true", None))
        await self._patch(CHURN_MODEL, {"metadata": {"annotations": {PAUSED_ANNOTATION: paused}}})

    async def _scale(self) -> None:
        self.spec["replicas"] = self.chance.choice(FIELDS["replicas"])
        await self._patch(CHURN_MODEL, {"spec": {"replicas": self.spec["replicas"]}})

    async def _come_to_good(self) -> None:
        """A model that was never asked for: what failed before is no reason to keep it away."""
        await self._patch(CHURN_MODEL, {"metadata": {"annotations": {PAUSED_ANNOTATION: None}}})
        last = {"uri": "oci://registry.example/telco:last", "digest": DIGEST}
        self.spec |= {"model": last, "progressDeadlineSeconds": None}
        self.told.append(f"come to good {self.spec}")
        await self._ask()

    # Others.

    async def _delete_child(self) -> None:
        kind = self.chance.choice(CHILD_KINDS)
        for name in await self._names(kind):
            await self.trial.delete(kind, name)

    async def _tamper(self) -> None:
        kind, change = self.chance.choice(TAMPERINGS)
        self.told[-1] += f" {kind.kind} {change}"
        for name in await self._names(kind):
            await self._patch(kind, change, name)

    async def _autoscale(self) -> None:
        """As the autoscaler does, if there is one."""
        found = await self.trial.get(AUTOSCALER, self.name)
        scaled = await self.trial.get(DEPLOYMENT, self.name)
        if found and scaled and scaled["spec"]["replicas"]:
            number = self.chance.randint(found["spec"]["minReplicas"], found["spec"]["maxReplicas"])
            await self._patch(DEPLOYMENT, {"spec": {"replicas": number}})

    async def _delete_pod(self) -> None:
        for pod in (await self.trial.all(POD))[:1]:
            await self.trial.delete(POD, pod["metadata"]["name"])

    # The operator and its API server.

    async def _die(self) -> None:
        self.doomed = self.chance.choice(sorted(PHASES))

    async def _change_weather(self) -> None:
        self.bad_day = not self.bad_day

    async def _cut(self) -> None:
        self.trial.proxy.cut_all()

    async def _names(self, kind: Any) -> list[str]:
        found = (obj["metadata"] for obj in await self.trial.all(kind))
        return [each["name"] for each in found if each["name"].startswith(self.name)]

    async def _patch(self, kind: Any, change: Json, name: str = "") -> None:
        """Writes over it; what the API server itself does not take, or is gone, is no happening."""
        try:
            if kind is CHURN_MODEL and "status" in change:
                path = CHURN_MODEL.path(self.trial.namespace, name or self.name, "status")
                kind_of_patch = "application/merge-patch+json"
                await self.trial.lane.admin._json("PATCH", path, body=change, content_type=kind_of_patch)
            else:
                await self.trial.patch(kind, change, name or self.name)
        except ApiError as error:
            self.told[-1] += f" ({error.status})"
