"""`python -m churn_operator.crd_apply FILE`: apply the CRD in FILE. The chart runs it before an upgrade.

Helm installs what lies in a chart's crds/ once and never upgrades it.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from kubernetes.aio import client, config

# Helm 4 installs CRDs by server-side apply under this name. Under another one, what a new version drops would
# stay, and a later install would meet a conflict.
FIELD_MANAGER = "helm"


async def apply(crd: dict[str, Any]) -> None:
    """Make the cluster's CRD what `crd` says, whoever wrote its fields before.

    Raises:
        kubernetes.aio.client.ApiException: the API server refused.
        aiohttp.ClientError: it could not be asked.
    """
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config()
    else:
        await config.load_kube_config()
    async with client.ApiClient() as api:
        await client.ApiextensionsV1Api(api).patch_custom_resource_definition(
            crd["metadata"]["name"],
            crd,
            field_manager=FIELD_MANAGER,
            force=True,
            _content_type="application/apply-patch+yaml",
            _request_timeout=30.0,
        )


def main(file: Path) -> None:
    """Apply the CRD in `file`; exits with one line that says why where that fails."""
    crd = yaml.safe_load(file.read_text())
    name = crd["metadata"]["name"]
    try:
        asyncio.run(apply(crd))
    except client.ApiException as error:
        sys.exit(f"CRD {name} not applied: {error.status} {error.reason}: {str(error.body).strip()}")
    except (aiohttp.ClientError, TimeoutError) as error:
        sys.exit(f"CRD {name} not applied: the API server does not answer: {error}")
    print(f"CRD {name} applied")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
