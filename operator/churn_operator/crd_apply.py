"""`python -m churn_operator.crd_apply FILE`: apply the CRD in FILE. The chart runs it before an upgrade.

Helm installs what lies in a chart's crds/ once and never upgrades it.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import yaml

from churn_operator.errors import ApiError
from churn_operator.kinds import Kind
from churn_operator.runtime.client import Client, connection

CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")

# Helm 4 installs CRDs by server-side apply under this name. Under another one, what a new version drops would
# stay, and a later install would meet a conflict.
FIELD_MANAGER = "helm"


async def apply(crd: dict[str, Any]) -> None:
    """Make the cluster's CRD what `crd` says, whoever wrote its fields before.

    Raises:
        ApiError: the API server refused, or did not answer.
    """
    client = Client(await connection())
    try:
        await client.apply(CRD, crd, FIELD_MANAGER)
    finally:
        await client.close()


def main(file: Path) -> None:
    """Apply the CRD in `file`; exits with one line that says why where that fails."""
    crd = yaml.safe_load(file.read_text())
    name = crd["metadata"]["name"]
    try:
        asyncio.run(apply(crd))
    except ApiError as error:
        sys.exit(f"CRD {name} not applied: {error}")
    print(f"CRD {name} applied")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
