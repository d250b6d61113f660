"""Every generated file of the repository and where it comes from.

    python -m churn_dev.generate            write them
    python -m churn_dev.generate --check    name those that are stale, and fail

Each `render` reads its sources from disk, so the order of `FILES` matters: the chart's CRD and schema come
before what is rendered from the chart.
"""

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from churn_dev import chart_values, conditions_page, dashboards, messages, tools

ROOT = Path(__file__).resolve().parents[2]
CRD = "churnmodels.churnops.io.yaml"
CHART = ROOT / "helm/churn-operator"
SAMPLES = ROOT / "k8s/samples"

_NAMESPACE = """\
# Rendered from helm/churn-operator with k8s/install-values.yaml by `make generate`. Do not edit.
apiVersion: v1
kind: Namespace
metadata:
  name: churn-operator
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


class Generated(NamedTuple):
    """A file and the function that gives its text."""

    path: Path
    render: Callable[[], str]


@cache
def crd() -> str:
    """The CRD, from the operator's API types."""
    return _output(sys.executable, "-m", "churn_operator.crdgen")


def values_schema() -> str:
    """The chart's values schema, its generated parts renewed."""
    return chart_values.schema((CHART / "values.schema.json").read_text(), crd())


def values_reference() -> str:
    """The reference page of the chart's values."""
    return chart_values.reference((CHART / "values.yaml").read_text())


def install_manifest() -> str:
    """The chart as one file for people without Helm: namespace, CRD, operator."""
    rendered = _output(
        tools.path("helm"), "template", "churn-operator", CHART,
        "--namespace=churn-operator", "--include-crds", "--no-hooks", "--kube-version=1.35.0",
        f"--values={ROOT / 'k8s/install-values.yaml'}",
    )  # fmt: skip
    return _NAMESPACE + re.sub(r"\n+---\n", "\n---\n", rendered).rstrip("\n") + "\n"


def sample(path: Path) -> str:
    """A sample with the digest of the bundle that lies beside it."""
    digest = hashlib.sha256((SAMPLES / "bundle/SHA256SUMS").read_bytes()).hexdigest()
    return re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{digest}", path.read_text())


FILES = (
    Generated(ROOT / "crds" / CRD, crd),
    Generated(CHART / "crds" / CRD, crd),
    Generated(CHART / "values.schema.json", values_schema),
    Generated(CHART / "dashboards/operator.json", partial(dashboards.render, dashboards.OPERATOR)),
    Generated(CHART / "dashboards/model.json", partial(dashboards.render, dashboards.MODEL)),
    Generated(ROOT / "k8s/install.yaml", install_manifest),
    Generated(ROOT / "docs/values.md", values_reference),
    Generated(ROOT / "docs/conditions.md", conditions_page.render),
    *(Generated(path, partial(messages.render, path)) for path in (messages.MODULE, messages.TYPES)),
    *(Generated(path, partial(sample, path)) for path in sorted(SAMPLES.glob("*.yaml"))),
)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


Check = Annotated[bool, typer.Option("--check", help="Write nothing; name what is stale.")]


def main(*, check: Check = False) -> None:
    """Write every generated file from its source."""
    stale = []
    for path, render in FILES:
        text = render()
        if not path.exists() or path.read_text() != text:
            stale.append(path)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    for path in stale:
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
    if check and stale:
        sys.exit("run `make generate` and commit what it writes")


if __name__ == "__main__":
    typer.run(main)
