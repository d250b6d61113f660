"""ChurnModels of the CRD's own schema, on the API server: each is served, or told why not."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import Phase, given
from hypothesis import strategies as st

from churn_operator.api.conditions import Reason
from churn_operator.errors import UnprocessableError
from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL

from ..chance import THOROUGH, generated  # noqa: TID252  # lanes share how they draw
from ..operator.crd_strategies import broken_specs, specs  # noqa: TID252  # lanes share what makes specs
from .trial import QUICK, Json, Lane, Trial, said

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

AT_ONCE = 30
DEADLINE_SECONDS = 300
"""The least progressDeadlineSeconds: a busy machine takes a while to start what has nothing wrong."""
ON_ITS_WAY = {Reason.ROLLING_OUT, Reason.WAITING_FOR_REMOVAL}
"""Reasons that say only that it is not over yet."""
STILL = QUICK | {"churn_operator.reconcile.RECHECK_SECONDS": 3600.0}
"""What is refused is not asked for again: there is an end to writes."""
NAMES_WHAT = {
    Reason.READY: r"Revision \w+ serves",
    Reason.SUSPENDED: r"spec\.suspend",
    Reason.SCALED_TO_ZERO: r"spec\.replicas",
    Reason.SERVICE_ACCOUNT_NOT_ALLOWED: r"spec\.serving\.serviceAccountName",
    Reason.INVALID_SPEC: r"\bspec\.[a-z]\w+",
    Reason.PODS_REFUSED: r"PriorityClass",
}
"""Reasons that there may be, and what their message names: the field, or the object that it asks for."""


def drawn(strategy: Any, count: int) -> list[Any]:
    """Examples of a strategy."""
    found: list[Any] = []

    @generated(count, database=None, phases=[Phase.generate])
    @given(strategy)
    def draw(example: Any) -> None:
        found.append(example)

    draw()
    return found


def modest(spec: Json) -> Json:
    """The same spec with few replicas, as there are no nodes to run them, and with time for them."""
    spec = spec | {
        "replicas": spec.get("replicas", 2) % 3,
        "progressDeadlineSeconds": max(DEADLINE_SECONDS, spec.get("progressDeadlineSeconds", 0)),
    }
    if autoscaling := spec.get("autoscaling"):
        spec["autoscaling"] = autoscaling | {"minReplicas": min(2, autoscaling.get("minReplicas", 2))}
    return spec


def ends(spec: Json) -> set[Reason]:
    """What a ChurnModel with this spec may come to."""
    serving = spec.get("serving", {})
    if "serviceAccountName" in serving:
        return {Reason.SERVICE_ACCOUNT_NOT_ALLOWED}  # there is none
    idle = not (spec["replicas"] or spec.get("autoscaling"))
    end = Reason.SCALED_TO_ZERO if idle else Reason.READY
    found = {Reason.SUSPENDED if spec.get("suspend") else end}
    # What only the server of the children knows, and a class that the cluster lacks.
    return (
        found | {Reason.INVALID_SPEC} | ({Reason.PODS_REFUSED} if "priorityClassName" in serving else set())
    )


async def test_each_ends_ready_or_with_what_is_wrong_named(lane: Lane) -> None:
    found = [modest(spec) for spec in drawn(specs(), 500 if THOROUGH else AT_ONCE)]
    told: Counter[str] = Counter()
    slowest = 0.0
    async with Trial.open(lane) as trial:
        for first in range(0, len(found), AT_ONCE):
            batch = {
                f"generated-{number}": spec for number, spec in enumerate(found[first : first + AT_ONCE])
            }
            await asyncio.gather(*(trial.apply(spec, name) for name, spec in batch.items()))
            for name, (reason, message, seconds) in (await verdicts(trial, batch)).items():
                assert reason in ends(batch[name]), (reason, message, batch[name])
                assert re.search(NAMES_WHAT[Reason(reason)], message), (reason, message)
                told[reason] += 1
                slowest = max(slowest, seconds)
            await asyncio.gather(*(trial.delete(CHURN_MODEL, name) for name in batch))
            await trial.until_quiet()
    print(
        f"{len(found)} ChurnModels, {AT_ONCE} at once: {dict(told)}; the last verdict after {slowest:.1f} s"
    )
    assert told[Reason.READY] > len(found) / 4


async def verdicts(trial: Trial, names: Iterable[str]) -> dict[str, tuple[str, str, float]]:
    """Reason and message of each one's Ready that will not pass, and seconds until it was there."""
    began, found = time.monotonic(), dict[str, tuple[str, str, float]]()

    async def all_there() -> bool:
        for seen in await trial.all(CHURN_MODEL):
            if (verdict := verdict_of(seen)) and seen["metadata"]["name"] not in found:
                found[seen["metadata"]["name"]] = (*verdict, time.monotonic() - began)
        return found.keys() >= set(names)

    await trial.until(all_there, f"verdicts on {set(names) - found.keys()}")
    return found


def verdict_of(seen: Json) -> tuple[str, str] | None:
    """Reason and message of Ready, once they are about the present generation and will not pass."""
    ready = said(seen, "Ready")
    if ready.get("observedGeneration") != seen["metadata"]["generation"] or ready["reason"] in ON_ITS_WAY:
        return None
    return ready["reason"], ready["message"]


async def test_there_and_back_gives_the_same_objects(lane: Lane) -> None:
    pairs = drawn(st.tuples(runnable(), runnable()), 20 if THOROUGH else 3)
    here = {f"pair-{number}": pair[0] for number, pair in enumerate(pairs)}
    there = {f"pair-{number}": pair[1] for number, pair in enumerate(pairs)}
    async with Trial.open(lane, STILL) as trial:
        serves = await come_to(trial, here)
        assert len(serves) > len(here) / 2
        here = {name: here[name] for name in serves}  # the API server may refuse a child of another
        before = await children(trial, here)
        await come_to(trial, there)
        assert await children(trial, here) != before
        await come_to(trial, here)

        async def same() -> bool:
            return await children(trial, here) == before

        await trial.until(same, "the objects of the first specs")


def runnable() -> st.SearchStrategy[Json]:
    """Specs that may come to be ready."""
    return specs().map(modest).filter(lambda spec: ends(spec) == {Reason.READY, Reason.INVALID_SPEC})


async def come_to(trial: Trial, batch: dict[str, Json]) -> list[str]:
    """Each ChurnModel has a verdict on its spec, and nothing more is written. Names of those that serve."""
    await asyncio.gather(*(trial.apply(spec, name) for name, spec in batch.items()))
    found = await verdicts(trial, batch)
    await trial.until_quiet()
    return [name for name in batch if found[name][0] == Reason.READY]


async def children(trial: Trial, batch: dict[str, Json]) -> Json:
    """The children field for field, with who owns them; less what counts earlier ones."""
    kinds = {kind.kind for kind in CHILD_KINDS} - {"ControllerRevision"}
    found = {
        f"{kind} {name}": child
        for key, child in (await trial.state()).items()
        for kind, _, name in [key.partition(" ")]
        if kind in kinds and name in batch
    }
    for name, spec in batch.items():
        deployment = found[f"Deployment {name}"]
        deployment["annotations"].pop("deployment.kubernetes.io/revision", None)
        if "autoscaling" in spec:
            deployment["spec"].pop("replicas")
    return found


async def test_a_wrong_value_is_refused_with_its_field_named(lane: Lane) -> None:
    async with Trial.open(lane) as trial:
        for spec, field in drawn(broken_specs(), 500 if THOROUGH else AT_ONCE):
            with pytest.raises(UnprocessableError) as refusal:
                await lane.admin.create(
                    CHURN_MODEL, CHURN_MODEL.named(trial.namespace, "broken") | {"spec": spec}, "author"
                )
            assert as_printed(field) in refusal.value.message


def as_printed(field: str) -> str:
    """A field's path as the API server prints it: indices in brackets."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", field)
