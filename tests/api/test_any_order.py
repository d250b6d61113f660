"""Whatever happens to a ChurnModel in whatever order: it ends as one that was made with its last spec."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_asyncio

from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL, CONTROLLER_REVISION, DEPLOYMENT, POD, Kind
from churn_operator.names import (
    DESIRED_ANNOTATION,
    ENTRIES_ANNOTATION,
    FIELD_MANAGER,
    MODEL_LABEL,
    REVISION_LABEL,
)

from ..chance import SEED, THOROUGH, dice  # noqa: TID252  # lanes share how they draw
from .course import Course
from .trial import PATIENCE_SECONDS, Json, Lane, Trial, said
from .ways import PACE

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

COURSES = 60 if THOROUGH else 3
AT_ONCE = 4
LENGTH = 16
PASSING = {"deployment.kubernetes.io/revision", DESIRED_ANNOTATION, ENTRIES_ANNOTATION}
"""Annotations that count or remember."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ends(lane: Lane) -> dict[str, Any]:
    """What each course ended with: an error with its story, or none. All run beside one twin each."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def run(number: int, twins: Trial) -> None:
        async with turns, Trial.open(lane, PACE) as trial:
            course = Course(trial, f"course-{number}", dice(f"course {number}"), dice(f"weather {number}"))
            try:
                await live_through(course, twins)
            except Exception as error:
                story = "\n".join((f"CHURN_SEED={SEED!r}, {course.name}", *course.told))
                error.add_note(story)
                raise

    async with Trial.open(lane, PACE) as twins:
        ended = await asyncio.gather(*(run(n, twins) for n in range(COURSES)), return_exceptions=True)
    return {f"course {number}": error for number, error in enumerate(ended) if error}


async def test_each_ends_as_one_that_was_made_with_its_last_spec(ends: dict[str, Any]) -> None:
    if ends:
        raise ExceptionGroup(f"{len(ends)} of {COURSES} courses", [*ends.values()])


async def live_through(course: Course, twins: Trial) -> None:
    """Runs a course, waits until it agrees with its twin, and restarts the operator: it writes nothing."""
    trial = course.trial
    await course.run(LENGTH)
    spec = (await trial.get(CHURN_MODEL, course.name) or {})["spec"]
    await twins.apply(spec, course.name)

    async def differs() -> list[Any]:
        return [*differences(*[await what_there_is(each, course.name) for each in (trial, twins)])]

    async def agree() -> bool:
        return not await differs()

    try:
        await trial.until(agree, "as its twin", seconds=PATIENCE_SECONDS)
    except TimeoutError:
        last = trial.log.read_text().splitlines()[-5:]
        raise AssertionError(f"differs in {trial.namespace}: {await differs()}; it says {last}") from None
    await trial.until_quiet()
    assert await differs() == []
    trial.restart()
    trial.writes.clear()
    await trial.until_quiet(4)
    assert [(call.method, call.path, call.body) for call in trial.writes] == []
    assert await differs() == []


async def what_there_is(trial: Trial, name: str) -> Json:
    """Children, pods and status of a ChurnModel; what tells of its course alone is left out."""
    model = await trial.get(CHURN_MODEL, name) or {}
    status = model.get("status") or {}
    record = f"{name}-{status.get('revision')}"
    found: Json = {
        kind.kind: plain(trial, kind, obj)
        for kind in CHILD_KINDS
        for obj in await trial.all(kind)
        if obj["metadata"]["name"] == (record if kind is CONTROLLER_REVISION else name)
    }
    replicas = found.get(DEPLOYMENT.kind, {}).get("spec", {}).get("replicas", -1)
    bounds = model["spec"].get("autoscaling")
    if bounds and not model["spec"].get("suspend") and DEPLOYMENT.kind in found:
        # The autoscaler may have moved on, and who wrote the number first has no say any more.
        found[DEPLOYMENT.kind]["spec"]["replicas"] = (
            bounds["minReplicas"] <= replicas <= bounds["maxReplicas"]
        )
        found[DEPLOYMENT.kind]["managed"]["f:spec"].pop("f:replicas", None)
    pods = [pod for pod in await trial.all(POD) if pod["metadata"]["labels"][MODEL_LABEL] == name]
    ready = [pod for pod in pods if said(pod, "Ready").get("status") == "True"]
    found["pods"] = {
        "of": sorted({pod["metadata"]["labels"][REVISION_LABEL] for pod in pods}) if replicas else [],
        "as many as asked for": len(pods) == len(ready) == replicas == status.get("replicas"),
    }
    found["status"] = {key: status.get(key) for key in ("revision", "servedRevision", "digest")}
    found["status"]["url"] = status.get("url", "").replace(trial.namespace, "NAMESPACE")
    found["status"]["current"] = status.get("observedGeneration") == model["metadata"]["generation"]
    found["conditions"] = {
        each["type"]: [each["status"], each["reason"], each["message"]]
        for each in status.get("conditions", ())
        if each["type"] != "AutoscalingActive"  # true at first, and not for long: nothing measures here
    }
    return found


def plain(trial: Trial, kind: Kind, obj: Json) -> Json:
    """A child as its twin has it: who made it, and how often it changed, aside."""
    ours = [
        entry["fieldsV1"]
        for entry in obj["metadata"]["managedFields"]
        if (entry["manager"], entry["operation"], entry.get("subresource")) == (FIELD_MANAGER, "Apply", None)
    ]
    seen = trial._plain(kind, obj)
    if kind is CONTROLLER_REVISION:
        del seen["data"]["entry"], seen["revision"]
    annotations = {key: value for key, value in seen["annotations"].items() if key not in PASSING}
    seen |= {"annotations": annotations, "managers": None}
    (owner,) = obj["metadata"].get("ownerReferences") or [{"uid": ""}]
    managed: Json = json.loads(json.dumps(ours).replace(owner["uid"], "UID"))
    if managed and kind is CONTROLLER_REVISION:
        managed[0]["f:metadata"]["f:annotations"].pop(f"f:{ENTRIES_ANNOTATION}", None)
    return seen | {"managed": managed[0] if managed else {"f:spec": {}}}


def differences(here: Any, there: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two pieces of JSON differ, and how."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted(here.keys() | there.keys()):
            yield from differences(here.get(key), there.get(key), f"{path}/{key}")
    elif here != there:
        yield path, here, there
