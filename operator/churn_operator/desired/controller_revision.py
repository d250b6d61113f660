"""The durable record of each accepted (model, image, serving): history, rollback and hold read it."""

from dataclasses import asdict
from typing import Any

from churn_operator.decide import Plan
from churn_operator.desired.config_map import build_entry, entries_to_remember
from churn_operator.desired.metadata import build_child
from churn_operator.digests import canonical_json
from churn_operator.kinds import CONTROLLER_REVISION
from churn_operator.names import ENTRIES_ANNOTATION, IN_PLACE_OF_ANNOTATION, REVISION_LABEL, revision_name
from churn_operator.observe import Observed
from churn_operator.settings import Settings


def build_controller_revision(plan: Plan, observed: Observed) -> dict[str, Any]:
    """The wanted revision's record. Data is immutable, so what is there is kept; the number is the newest."""
    name = revision_name(observed.name, plan.revision.hash)
    present = next((r for r in observed.revisions if r["metadata"]["name"] == name), None)
    newest = max((int(r.get("revision", 0)) for r in observed.revisions), default=0)
    is_newest = present is not None and int(present.get("revision", 0)) == newest
    child = build_child(
        CONTROLLER_REVISION,
        observed,
        name,
        revision=newest if is_newest else newest + 1,
        data=present["data"] if present else plan.revision.wire() | {"entry": build_entry(plan)},
    )
    child["metadata"]["labels"][REVISION_LABEL] = plan.revision.hash
    notes = _kept_note(present) if present and is_newest else _note(entries_to_remember(plan, observed))
    if plan.in_place_of:
        notes |= {IN_PLACE_OF_ANNOTATION: canonical_json(asdict(plan.in_place_of))}
    return child | {"metadata": child["metadata"] | {"annotations": notes}} if notes else child


def _note(entries: dict[str, Any]) -> dict[str, str]:
    return {ENTRIES_ANNOTATION: canonical_json(entries)} if entries else {}


def _kept_note(record: dict[str, Any]) -> dict[str, str]:
    """Written when the record became the newest, and never again: that would be a request for nothing."""
    present = record["metadata"].get("annotations") or {}
    return {name: text for name, text in present.items() if name == ENTRIES_ANNOTATION}


def kept_revisions(plan: Plan, observed: Observed, settings: Settings) -> frozenset[str]:
    """Names of the old records to keep: the newest ones, and any that a pod still uses."""
    wanted = revision_name(observed.name, plan.revision.hash)
    old = [r for r in observed.history if r["metadata"]["name"] != wanted]
    in_use = {revision_name(observed.name, revision) for revision in observed.live_revisions}
    names = [r["metadata"]["name"] for r in old]
    return frozenset(names[: settings.revision_history_limit]) | (in_use & frozenset(names))
