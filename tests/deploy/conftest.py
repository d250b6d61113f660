"""The chart, rendered; and an API server without nodes for what only it can judge."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from churn_dev import tools
from churn_dev.churnmodel import are_served, restricted_namespace
from churn_dev.cluster import LANES, down, up
from churn_dev.generate import CHART, ROOT
from churn_dev.kubectl import Kubectl, Object, wait_until

Render = Callable[..., list[Object]]


@pytest.fixture(scope="session")
def render() -> Render:
    """Renders the chart: `render(values, release=…, namespace=…)` gives its objects, hooks included.

    `values` is a file, or the values themselves. Raises ValueError with what helm says where it refuses.
    """

    def rendered(
        values: Path | Object | None = None,
        *,
        release: str = "churn-operator",
        namespace: str = "churn-operator",
    ) -> list[Object]:
        text = values.read_text() if isinstance(values, Path) else yaml.safe_dump(values or {})
        command = [
            tools.path("helm"), "template", release, CHART, "--namespace", namespace, "--kube-version=1.35.0",
            "--values=-",
        ]  # fmt: skip
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(done.stderr)
        return [obj for obj in yaml.safe_load_all(done.stdout) if obj]

    return rendered


@pytest.fixture(scope="session")
def api() -> Iterator[Kubectl]:
    """A real API server without nodes that knows ChurnModels."""
    cluster = up(name=f"{LANES}-deploy", nodes=0)
    kubectl = Kubectl(cluster.kubeconfig)
    kubectl.run("apply", "--server-side", f"--filename={ROOT / 'crds'}")
    kubectl.run("wait", "--for=condition=Established", f"--filename={ROOT / 'crds'}")
    wait_until(lambda: are_served(kubectl), "ChurnModels to be served")
    yield kubectl
    down(cluster.name)


@pytest.fixture(scope="session")
def restricted(api: Kubectl) -> Kubectl:
    """A namespace of it that enforces Pod Security `restricted`."""
    api.apply(restricted_namespace("restricted"))
    return api.within("restricted")
