"""One ChurnModel in a namespace of its own, served by an operator of its own behind a fault proxy."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from kubernetes.aio import config as kube_config
from kubernetes.aio.client.configuration import Configuration

from churn_dev.fault_proxy import Call, FaultProxy
from churn_dev.lives import begin, kill
from churn_dev.operator_process import defects
from churn_dev.ports import free_port
from churn_operator.errors import (
    ApiError,
    NotFoundError,
    ServerTroubleError,
    TooManyRequestsError,
    UnreachableError,
)
from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL, CONFIG_MAP, DEPLOYMENT, POD, Kind
from churn_operator.names import CONFIG_DIGEST_ANNOTATION, CONFIG_FILE, DESIRED_ANNOTATION, FIELD_MANAGER
from churn_operator.reconcile import QUIET_SECONDS
from churn_operator.runtime import client
from churn_operator.runtime.client import MERGE_PATCH, Client

Json = dict[str, Any]
State = dict[str, Any]
NAMESPACE = Kind("v1", "Namespace", "namespaces")
ADMIN = "fault-tests"
DIGEST = "sha256:" + "0" * 64
SPEC: Json = {
    "model": {"uri": "oci://registry.example/telco:1", "digest": DIGEST},
    "decision": {"threshold": 0.4},
    "replicas": 2,
}
BAD: Json = {"uri": "oci://registry.example/bad:1", "digest": DIGEST}
"""A model that no replica can load: the kubelet's part says so."""
QUICK = {
    "churn_operator.reconcile.QUIET_SECONDS": 1.0,
    "churn_operator.reconcile.RECHECK_SECONDS": 2.0,
    "churn_operator.status.AUTOSCALER_PATIENCE_SECONDS": 86_400.0,
}
"""The operator's clocks in most trials: it waits less for what else may come, and has patience with an
autoscaler, for which nothing measures here. Nothing else differs."""
PATIENCE_SECONDS = 180.0
"""How long to wait for an end state before giving up. Generous: a loaded machine is no defect."""
LONG_AGO = "2026-01-01T00:00:00Z"
"""Since when pods are ready: what waits for pods that stay so need not."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Lane:
    """The API server that trials run against."""

    admin: Client
    server: str
    tls: ssl.SSLContext
    operator_config: Json
    directory: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, admin_config: Path, operator_config: Path, directory: Path) -> AsyncIterator["Lane"]:
        """Connects as an administrator; trials' operators act with the rights of `operator_config`."""
        configuration = Configuration()
        await kube_config.load_kube_config(config_file=str(admin_config), client_configuration=configuration)
        configuration.disable_strict_ssl_verification = True
        admin = Client(configuration, agent=ADMIN)
        with pytest.MonkeyPatch.context() as here:  # the operators are other processes
            here.setattr(client, "REQUEST_TIMEOUT", aiohttp.ClientTimeout(total=60))
            try:
                yield cls(admin, *_read(operator_config), directory)
            finally:
                await admin.close()


@dataclass
class Trial:
    """A namespace, a proxy, and the lives of an operator. The kubelet's part is played by `open`."""

    lane: Lane
    namespace: str
    proxy: FaultProxy
    pace: Json
    life: ForkServerProcess | None = None
    lives: int = 0
    began: float = 0.0
    writes: list[Call] = field(default_factory=list)
    wrote_at: float = 0.0
    ports: tuple[int, int] = (0, 0)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, lane: Lane, pace: Json = QUICK, *, hold: bool = False) -> AsyncIterator["Trial"]:
        """A trial; with `hold` its operator has yet to be started."""
        namespace = f"fault-{os.getpid()}-{next(_numbers)}"
        await lane.admin.apply(
            NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, ADMIN
        )
        async with FaultProxy(lane.server, lane.tls) as proxy:
            trial = cls(lane, namespace, proxy, dict(pace), ports=(free_port(), free_port()))
            proxy.seen = trial._note
            kubelet = asyncio.create_task(trial._play_kubelet())
            if not hold:
                trial.start()
            try:
                yield trial
            finally:
                kubelet.cancel()
                await asyncio.gather(kubelet, return_exceptions=True)
                trial.kill()
                with contextlib.suppress(ApiError):
                    await lane.admin._json("DELETE", NAMESPACE.path(None, namespace))
        complaints = defects(trial.log) if trial.log.exists() else []
        assert complaints == [], complaints

    @property
    def log(self) -> Path:
        return self.lane.directory / f"{self.namespace}.log"

    def start(self) -> None:
        """A new life of the operator begins."""
        assert self.life is None
        self.lives += 1
        self.began = time.monotonic()
        config = json.loads(json.dumps(self.lane.operator_config))
        config["clusters"][0]["cluster"] = {"server": self.proxy.url}
        kubeconfig = self.lane.directory / f"{self.namespace}.yaml"
        kubeconfig.write_text(yaml.safe_dump(config))
        environment = {
            "KUBECONFIG": str(kubeconfig),
            "CHURN_OPERATOR_NAMESPACE": self.namespace,
            "CHURN_OPERATOR_HEALTH_PORT": str(self.ports[0]),
            "CHURN_OPERATOR_METRICS_PORT": str(self.ports[1]),
            "CHURN_OPERATOR_REVISION_HISTORY_LIMIT": "1",
        }
        self.life = begin(environment, self.log, self.pace)

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        if self.life:
            kill(self.life)
            self.life = None
            self.proxy.cut_all()

    def restart(self) -> None:
        """Ends this life, and begins the next."""
        self.kill()
        self.start()

    # What an author and others do.

    async def apply(self, spec: Json, name: str = "telco") -> None:
        await self.lane.admin.apply(CHURN_MODEL, self._named(CHURN_MODEL, name) | {"spec": spec}, "author")

    async def edit(self, **spec: Any) -> None:
        """The author changes some fields of the spec; None removes one."""
        await self.patch(CHURN_MODEL, {"spec": spec})

    async def patch(self, kind: Kind, change: Any, name: str = "telco", *, how: str = MERGE_PATCH) -> None:
        await self.lane.admin.patch(kind, self.namespace, name, change, ADMIN, content_type=how)

    async def delete(self, kind: Kind, name: str = "telco") -> None:
        body = {"propagationPolicy": "Background"}
        with contextlib.suppress(NotFoundError):
            await self.lane.admin._json("DELETE", kind.path(self.namespace, name), body=body)

    async def get(self, kind: Kind, name: str = "telco") -> Json | None:
        try:
            return await self.lane.admin.get(kind, self.namespace, name)
        except NotFoundError:
            return None

    async def all(self, kind: Kind) -> list[Json]:
        return (await self.lane.admin.list(kind, self.namespace))[0]

    # What there is.

    async def state(self, *, stamps: bool = False) -> State:
        """Everything of the namespace that people or pods can tell apart from a fault-free run."""
        kinds = (CHURN_MODEL, *CHILD_KINDS)
        found = await asyncio.gather(*(self.all(kind) for kind in kinds))
        state: State = {
            f"{kind.kind} {obj['metadata']['name']}": self._plain(kind, obj)
            for kind, objects in zip(kinds, found, strict=True)
            for obj in objects
            if obj["metadata"]["name"] != "kube-root-ca.crt"
        }
        state["pods"] = sorted(_told_of(pod, stamps=stamps) for pod in await self.all(POD))
        return state

    async def until(
        self, seen: Callable[[], Awaitable[Any]], what: str, *, seconds: float = PATIENCE_SECONDS
    ) -> Any:
        """Looks until it sees something true, and returns that; a busy API server is asked again."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(UnreachableError, ServerTroubleError, TooManyRequestsError):
                if result := await seen():
                    return result
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:.0f} s in {self.namespace}: {what}")
            await asyncio.sleep(0.3)

    async def until_quiet(self, seconds: float | None = None) -> None:
        """Waits until the operator wrote nothing for a while: twice as long as it holds a status back.

        Raises:
            TimeoutError: it goes on writing; says what.
        """
        seconds = seconds or 2 * self.pace.get("churn_operator.reconcile.QUIET_SECONDS", QUIET_SECONDS)
        began = self.wrote_at = time.monotonic()
        while time.monotonic() - self.wrote_at < seconds:
            if time.monotonic() - began > PATIENCE_SECONDS:
                last = [f"{call.method} {call.path}" for call in self.writes[-5:]]
                raise TimeoutError(f"{self.namespace} is not still: {last}")
            await asyncio.sleep(0.1)

    async def until_settled(self, name: str = "telco") -> Json:
        """The ChurnModel once its status is about its latest generation and says Ready or Suspended.

        And once all has followed that other processes do in their time: pods come and go, and are counted.
        """

        async def settled() -> Json | None:
            seen = await self.get(CHURN_MODEL, name)
            ready = said(seen, "Ready")
            current = seen and ready.get("observedGeneration") == seen["metadata"]["generation"]
            done = current and (ready["status"] == "True" or ready["reason"] == "Suspended")
            return seen if seen and done and await self._is_carried_out(seen) else None

        found: Json = await self.until(settled, f"{name} settled")
        return found

    async def _is_carried_out(self, model: Json) -> bool:
        """Whether there are as many pods as asked for, none of another revision, and all is told."""
        name, status = model["metadata"]["name"], model["status"]
        deployment, config = await self.get(DEPLOYMENT, name), await self.get(CONFIG_MAP, name)
        if not (deployment and config):
            return False
        numbers = ("replicas", "updatedReplicas", "readyReplicas")
        counted = {status["replicas"], *(deployment["status"].get(number, 0) for number in numbers)}
        known = json.loads(config["data"][CONFIG_FILE])["revisions"].keys()
        return counted == {deployment["spec"]["replicas"]} and known == {status["revision"]}

    def _plain(self, kind: Kind, obj: Json) -> State:
        """What is the same in every namespace and at any time, who owns which field included."""
        metadata = obj["metadata"]
        annotations = {k: v for k, v in metadata.get("annotations", {}).items() if k != DESIRED_ANNOTATION}
        kept = {key: value for key, value in obj.items() if key not in {"metadata", "status"}}
        kept |= {"labels": metadata.get("labels"), "annotations": annotations}
        kept["owners"] = metadata.get("ownerReferences")
        kept["managers"] = {
            entry["manager"]: entry["fieldsV1"]
            for entry in metadata["managedFields"]
            if entry["manager"] == FIELD_MANAGER
        }
        if kind is CHURN_MODEL:
            kept["status"] = without(obj.get("status"), "lastTransitionTime")
            for condition in (kept["status"] or {}).get("conditions", ()):
                # True at first, and False after two minutes: nothing measures here.
                if condition["type"] == "AutoscalingActive":
                    condition.update(status=None, reason=None, message=None)
        plain = json.dumps(without(kept, "clusterIP", "clusterIPs"), sort_keys=True)
        for uid in {owner["uid"] for owner in metadata.get("ownerReferences", ())}:
            plain = plain.replace(uid, "UID")
        result: State = json.loads(plain.replace(self.namespace, "NAMESPACE"))
        return result

    def _named(self, kind: Kind, name: str) -> Json:
        return kind.named(self.namespace, name)

    def _note(self, call: Call) -> None:
        if call.is_write and call.place[1] != "leases":
            self.writes.append(call)
            self.wrote_at = time.monotonic()

    async def _play_kubelet(self) -> None:
        """Says of pods what a kubelet would: this lane has no nodes."""
        while True:
            with contextlib.suppress(ApiError):
                for pod in await self.all(POD):
                    if "deletionTimestamp" not in pod["metadata"] and not said(pod, "Ready"):
                        await self._report(pod)
            await asyncio.sleep(0.2)

    async def _report(self, pod: Json) -> None:
        good = BAD["uri"].removeprefix("oci://") not in json.dumps(pod["spec"])
        crash = {"exitCode": 1, "reason": "Error", "message": '{"reason": "GoldenMismatch", "message": "x"}'}
        container = {
            "name": "server", "image": "x", "imageID": "", "ready": good, "restartCount": 0,
            "state": {"running": {"startedAt": LONG_AGO}} if good else {"terminated": crash},
        }  # fmt: skip
        status = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(good), "lastTransitionTime": LONG_AGO}],
            "containerStatuses": [container],
        }
        body = self._named(POD, pod["metadata"]["name"]) | {"status": status}
        await self.lane.admin.apply(POD, body, "kubelet", subresource="status")


def _read(kubeconfig: Path) -> tuple[str, ssl.SSLContext, Json]:
    """The API server's URL, how its certificate is checked, and the file's content."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    tls = ssl.create_default_context(cadata=authority)
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as the operator's client does
    return cluster["server"], tls, config


def said(obj: Json | None, kind: str) -> Json:
    """The condition of that type; empty where there is none."""
    conditions = ((obj or {}).get("status") or {}).get("conditions", ())
    found: Json = next((each for each in conditions if each["type"] == kind), {})
    return found


def _told_of(pod: Json, *, stamps: bool) -> tuple[str, ...]:
    metadata = pod["metadata"]
    told = (metadata["labels"]["churnops.io/revision"], said(pod, "Ready").get("status", ""))
    return (*told, metadata.get("annotations", {}).get(CONFIG_DIGEST_ANNOTATION, "")) if stamps else told


def without(value: Any, *names: str) -> Any:
    if isinstance(value, list):
        return [without(item, *names) for item in value]
    if isinstance(value, dict):
        return {key: without(item, *names) for key, item in value.items() if key not in names}
    return value
