"""serving.json: what may change without a restart, by revision: old and new pods share it in a rollout."""

import json
from typing import Any

from churn_operator.decide import Plan
from churn_operator.desired.metadata import build_child
from churn_operator.digests import canonical_json, digest_of
from churn_operator.kinds import CONFIG_MAP
from churn_operator.names import CONFIG_FILE, ENTRIES_ANNOTATION, REVISION_LABEL
from churn_operator.observe import Observed


def build_config_map(plan: Plan, observed: Observed) -> dict[str, Any]:
    """The ConfigMap with the wanted revision's entry, and those of old revisions while pods of them live."""
    entries = living_entries(plan, observed)
    entries.setdefault(plan.revision.hash, build_entry(plan))
    config = {"model": observed.name, "revisions": entries}
    return build_child(CONFIG_MAP, observed, data={CONFIG_FILE: canonical_json(config)})


def living_entries(plan: Plan, observed: Observed) -> dict[str, Any]:
    """Entries that pods go by and the spec does not say, by revision."""
    earlier = _born_with(observed) | _remembered(observed) | _in_force(observed)
    living = {revision: entry for revision, entry in earlier.items() if revision in observed.live_revisions}
    # The spec's decision came with the revision that failed: what runs in its place keeps its own.
    own = plan.revision.hash
    if plan.in_place_of and own in earlier:
        return living | {own: earlier[own]}
    living.pop(own, None)
    return living


def entries_to_remember(plan: Plan, observed: Observed) -> dict[str, Any]:
    """Those of them that the revisions' records do not tell: a record keeps what its revision began with."""
    born_with = _born_with(observed)
    living = living_entries(plan, observed)
    return {revision: entry for revision, entry in living.items() if entry != born_with.get(revision)}


def build_entry(plan: Plan) -> dict[str, Any]:
    """The wanted revision's settings."""
    decision = plan.spec.decision
    limit = plan.revision.model.max_scoring_millis
    return {
        "weight": 100,
        "digest": plan.revision.model.digest,
        "decision": decision.wire() if decision else None,
    } | ({"max_scoring_millis": limit} if limit else {})


def entry_digests(config_map: dict[str, Any]) -> dict[str, str]:
    """Digest of each revision's entry: what a pod of that revision has read once it is up to date."""
    file = _read((config_map.get("data") or {}).get(CONFIG_FILE))
    return {revision: digest_of(entry) for revision, entry in _entries(file.get("revisions")).items()}


def _in_force(observed: Observed) -> dict[str, Any]:
    """Entries of the ConfigMap as it is."""
    data = observed.children.get(CONFIG_MAP, {}).get("data") or {}
    return _entries(_read(data.get(CONFIG_FILE)).get("revisions"))


def _remembered(observed: Observed) -> dict[str, Any]:
    """Entries that the last rollout noted down, for the case that the ConfigMap is lost in it."""
    if not observed.history:
        return {}
    annotations = observed.history[0]["metadata"].get("annotations") or {}
    return _entries(_read(annotations.get(ENTRIES_ANNOTATION)))


def _born_with(observed: Observed) -> dict[str, Any]:
    """Entries of the revisions' records."""
    records = ((r["metadata"].get("labels", {}), r.get("data") or {}) for r in observed.revisions)
    return _entries({labels.get(REVISION_LABEL, ""): data.get("entry") for labels, data in records})


def _read(text: Any) -> dict[str, Any]:
    """A JSON object; empty where it is missing or was broken by hand."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _entries(value: Any) -> dict[str, Any]:
    """Entries by revision, those that are some."""
    if not isinstance(value, dict):
        return {}
    return {revision: entry for revision, entry in value.items() if isinstance(entry, dict)}
