"""What every child has in common: identity, labels and owner."""

from typing import Any

from churn_operator.kinds import CHURN_MODEL, Kind
from churn_operator.names import labels
from churn_operator.observe import Observed


def build_child(kind: Kind, observed: Observed, name: str | None = None, **content: Any) -> dict[str, Any]:
    """A child of `kind`, called as the ChurnModel unless `name` says otherwise."""
    child = kind.named(observed.namespace, name or observed.name)
    child["metadata"] |= {
        "labels": labels(observed.name),
        "ownerReferences": [
            {
                "apiVersion": CHURN_MODEL.api_version,
                "kind": CHURN_MODEL.kind,
                "name": observed.name,
                "uid": observed.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    return child | content
