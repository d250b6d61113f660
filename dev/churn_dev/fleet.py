"""Many ChurnModels at once: created, waited for, disturbed; and the same children made without it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

from kubernetes.aio import config
from kubernetes.aio.client.configuration import Configuration

from churn_dev.kubectl import Object, condition
from churn_dev.kwok import node_name
from churn_dev.paths import ROOT
from churn_operator.compare import stamped
from churn_operator.decide import Plan, decide
from churn_operator.desired import build_desired
from churn_operator.kinds import CHURN_MODEL, DEPLOYMENT, POD, Kind
from churn_operator.names import FIELD_MANAGER
from churn_operator.observe import Observed, trim_model
from churn_operator.runtime.client import Client
from churn_operator.settings import Settings

T = TypeVar("T")
CRDS = ROOT / "crds"
CRD = f"{CHURN_MODEL.plural}.{CHURN_MODEL.api_version.partition('/')[0]}"
AGENT = "churn-bench/1"
AT_ONCE = 8
"""Requests that the measuring client has under way, as that of other operators' figures."""
LONGEST_SECONDS = 1800


def fleet(count: int) -> list[Object]:
    """ChurnModels of one replica with an autoscaler, and so with every kind of child."""
    model = {"uri": "oci://registry.example/telco:1", "digest": "sha256:" + "0" * 64}
    scaled = {"minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 70}
    return [
        {
            "apiVersion": CHURN_MODEL.api_version,
            "kind": CHURN_MODEL.kind,
            "metadata": {"name": f"telco-{number:04}"},
            "spec": {"model": model, "autoscaling": scaled},
        }
        for number in range(count)
    ]


def children(model: Object, namespace: str) -> list[tuple[Kind, Object]]:
    """What the operator makes of a ChurnModel, without the owner."""
    identity = {"namespace": namespace, "uid": "none", "generation": 1, "resourceVersion": "1"}
    made = owned_children(model | {"metadata": model["metadata"] | identity})
    for _, child in made:
        del child["metadata"]["ownerReferences"]
    return made


def owned_children(model: Object) -> list[tuple[Kind, Object]]:
    """What the operator makes of a ChurnModel that is there, of one replica at first."""
    observed = Observed(model=trim_model(model), children={}, owned=(), revisions=(), pods=())
    settings = Settings()
    plan = decide(observed, settings)
    if not isinstance(plan, Plan):
        raise TypeError(f"not a ChurnModel that gets children: {plan.message}")
    return [
        (kind, stamped(child)) for kind, child in build_desired(plan, observed, settings).children.items()
    ]


def measure(kubeconfig: Path, act: Callable[[Client], Awaitable[T]]) -> T:
    """What `act` returns, with a client under the measurements' own name."""

    async def run() -> T:
        configuration = Configuration()
        await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        client = Client(configuration, agent=AGENT)
        try:
            return await act(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def create(client: Client, models: Iterable[Object], namespace: str) -> None:
    """Creates the ChurnModels."""
    await _some_at_once(
        client.create(CHURN_MODEL, model | {"metadata": model["metadata"] | {"namespace": namespace}}, AGENT)
        for model in models
    )


async def create_children(client: Client, models: Iterable[Object], namespace: str) -> None:
    """Makes what the operator would make of the ChurnModels."""

    async def make(model: Object) -> None:
        for kind, child in children(model, namespace):
            await client.create(kind, child, AGENT)

    await _some_at_once(make(model) for model in models)


async def create_settled(client: Client, models: Iterable[Object], namespace: str, nodes: int) -> None:
    """Makes ChurnModels with all that they have once they are rolled out, but for their status.

    Thousands in minutes: it takes the place of the operator, and of the controllers, which are to be off.
    """

    async def make(model: Object, node: str) -> None:
        metadata = model["metadata"] | {"namespace": namespace}
        born = await client.create(CHURN_MODEL, model | {"metadata": metadata}, AGENT)
        for kind, child in owned_children(born):
            made = await client.apply(kind, child, FIELD_MANAGER)
            if kind is DEPLOYMENT:
                await _roll_out(client, made, node)

    await _some_at_once(make(model, node_name(number % nodes)) for number, model in enumerate(models))


async def _roll_out(client: Client, deployment: Object, node: str) -> None:
    """The Deployment's one pod, on a node, and that it is available."""
    metadata, template = deployment["metadata"], deployment["spec"]["template"]
    pod = POD.named(metadata["namespace"], f"{metadata['name']}-0")
    pod["metadata"] |= template["metadata"]
    await client.create(POD, pod | {"spec": template["spec"] | {"nodeName": node}}, AGENT)
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
    told = DEPLOYMENT.named(metadata["namespace"], metadata["name"])
    told["status"] = counts | {"observedGeneration": metadata["generation"]}
    await client.apply(DEPLOYMENT, told, AGENT, subresource="status")


async def until_all(
    client: Client, kind: Kind, namespace: str, done: Callable[[Object], bool], count: int
) -> float:
    """Waits until `done` says so of `count` objects of the kind, by a watch; the time of the last (epoch)."""
    finished: set[str] = set()
    version = "0"
    async with asyncio.timeout(LONGEST_SECONDS):
        while True:  # the server ends a watch after some minutes
            async for event in client.watch(kind, namespace, "", version):
                version = event.object["metadata"]["resourceVersion"]
                if event.type != "BOOKMARK" and done(event.object):
                    finished.add(event.object["metadata"]["name"])
                if len(finished) >= count:
                    return time.time()


def is_ready(model: Object) -> bool:
    """Whether the ChurnModel is Ready for its latest generation."""
    ready = condition(model, "Ready")
    return bool(
        ready.get("status") == "True" and ready.get("observedGeneration") == model["metadata"]["generation"]
    )


def is_available(deployment: Object) -> bool:
    """Whether the Deployment has its replica, from the moment that it is ready, as Ready counts it."""
    return bool(deployment.get("status", {}).get("readyReplicas"))


async def _some_at_once(work: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Runs all, a few at a time, in their order."""
    waiting = iter(work)

    async def take() -> None:
        for each in waiting:
            await each

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(take())
