"""Pure: the ControllerRevisions of one ChurnModel as a history that people read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from churn_kubectl.errors import ChurnError
from churn_operator.names import IN_PLACE_OF_ANNOTATION, REVISION_LABEL


@dataclass(frozen=True)
class Entry:
    """One revision. `number` rises with each time that one came to run; `failed` says why it was given up."""

    number: int
    revision: str
    created: datetime
    model: dict[str, Any]
    image: str
    serving: dict[str, Any]
    serves: bool
    asked_for: bool
    failed: str = ""

    @property
    def state(self) -> str:
        """What is to be said of it."""
        words = [word for word, true in (("serves", self.serves), ("asked for", self.asked_for)) if true]
        return ", ".join([*words, f"failed ({self.failed})"] if self.failed else words)


def read_history(model: dict[str, Any], records: Sequence[dict[str, Any]]) -> list[Entry]:
    """The revisions of a ChurnModel, the newest first."""
    uid, status = model["metadata"]["uid"], model.get("status") or {}
    ours = [
        record
        for record in records
        if any(owner.get("uid") == uid for owner in record["metadata"].get("ownerReferences", ()))
    ]
    ours.sort(key=lambda record: int(record["revision"]), reverse=True)
    failures = dict(_failure(record) for record in ours)
    return [_entry(record, status, failures) for record in ours]


def _entry(record: dict[str, Any], status: dict[str, Any], failures: dict[str, str]) -> Entry:
    revision = record["metadata"]["labels"][REVISION_LABEL]
    return Entry(
        number=int(record["revision"]),
        revision=revision,
        created=datetime.fromisoformat(record["metadata"]["creationTimestamp"]),
        model=record["data"]["model"],
        image=record["data"]["image"],
        serving=record["data"]["serving"],
        serves=revision == status.get("servedRevision"),
        asked_for=revision == status.get("revision"),
        failed=failures.get(revision, ""),
    )


def _failure(record: dict[str, Any]) -> tuple[str, str]:
    """Which revision this one runs, or ran, in place of, and why."""
    try:
        said = json.loads(record["metadata"].get("annotations", {}).get(IN_PLACE_OF_ANNOTATION, "{}"))
        return str(said["revision"]), str(said["reason"])
    except (ValueError, KeyError, TypeError):
        return "", ""


def choose(history: Sequence[Entry], number: int | None) -> Entry:
    """The revision to go back to: that of the number, else the newest that the spec does not ask for.

    Raises:
        ChurnError: There is none; the message lists what there is.
    """
    there = ", ".join(str(entry.number) for entry in history) or "none"
    if number is None:
        found = next((entry for entry in history if not entry.asked_for and not entry.failed), None)
        if found is None:
            raise ChurnError(f"no earlier revision is kept that did not fail; there are: {there}")
        return found
    found = next((entry for entry in history if entry.number == number), None)
    if found is None:
        raise ChurnError(f"no revision {number} is kept; there are: {there}")
    return found


def build_patch(model: dict[str, Any], history: Sequence[Entry], target: Entry) -> list[dict[str, Any]]:
    """The JSON patch that makes the spec ask for `target`; empty where it does.

    What the spec leaves to the platform (image, resources) and what is still the same is left to it: the next
    default then reaches this ChurnModel too.
    """
    spec, present = model["spec"], next((entry for entry in history if entry.asked_for), None)
    said: dict[str, Any] = spec.get("serving") or {}
    serving = target.serving | {"image": target.image}
    for name in ("image", "resources"):
        kept = present and (present.serving | {"image": present.image}).get(name)
        if name not in said and kept == serving.get(name):
            serving.pop(name, None)
    changes = [
        {"op": "add", "path": f"/spec/{name}", "value": wanted}
        for name, wanted in (("model", target.model), ("serving", serving))
        if wanted != (spec.get(name) or {})
    ]
    version = {"op": "replace", "path": "/metadata/resourceVersion"}  # of the spec that was looked at
    return [version | {"value": model["metadata"]["resourceVersion"]}, *changes] if changes else []
