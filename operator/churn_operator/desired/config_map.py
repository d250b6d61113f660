"""serving.json: what may change without a restart, by revision: old and new pods share it in a rollout."""

import json
from typing import Any

from churn_operator.decide import Plan
from churn_operator.desired.metadata import build_child
from churn_operator.digests import canonical_json, digest_of
from churn_operator.kinds import CONFIG_MAP
from churn_operator.names import CONFIG_FILE, REVISION_LABEL
from churn_operator.observe import Observed


def build_config_map(plan: Plan, observed: Observed) -> dict[str, Any]:
    """The ConfigMap with the wanted revision's entry, and those of old revisions while pods of them live."""
    earlier, wanted = _earlier_entries(observed), plan.revision.hash
    entries = {revision: entry for revision, entry in earlier.items() if revision in observed.live_revisions}
    # The spec's decision came with the revision that failed: what runs in its place keeps its own.
    entries[wanted] = earlier.get(wanted, build_entry(plan)) if plan.in_place_of else build_entry(plan)
    config = {"model": observed.name, "revisions": entries}
    return build_child(CONFIG_MAP, observed, data={CONFIG_FILE: canonical_json(config)})


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
    return {revision: digest_of(entry) for revision, entry in _read(config_map).items()}


def _earlier_entries(observed: Observed) -> dict[str, Any]:
    """What old pods go by: the ConfigMap as it is; for a revision lost from it, the ControllerRevision."""
    kept = {
        revision["metadata"].get("labels", {}).get(REVISION_LABEL, ""): (revision.get("data") or {}).get(
            "entry"
        )
        for revision in observed.revisions
    }
    found = {revision: entry for revision, entry in kept.items() if entry}
    return found | _read(observed.children.get(CONFIG_MAP))


def _read(config_map: dict[str, Any] | None) -> dict[str, Any]:
    """Entries by revision; none where the file is missing or was broken by hand."""
    try:
        revisions = json.loads((config_map or {})["data"][CONFIG_FILE])["revisions"]
        return {str(revision): dict(entry) for revision, entry in revisions.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
