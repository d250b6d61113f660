"""The chart on a cluster: installed or upgraded by Helm."""

import subprocess
from pathlib import Path

from churn_dev import builder, images, tools
from churn_dev.cluster import Cluster, up
from churn_dev.paths import ROOT

NAMESPACE = "churn-operator"
CHART = ROOT / "helm/churn-operator"


class HelmError(Exception):
    """helm ended with an error; the message is what it printed."""


def bring_up(name: str) -> Cluster:
    """The cluster of that name with the product's images on its nodes and the chart installed."""
    cluster = up(name=name)
    for image in images.build_product():
        cluster.load_image(image)
    install(cluster)
    return cluster


def install(
    cluster: Cluster, *values: str, release: str = "churn-operator", namespace: str = NAMESPACE
) -> None:
    """Installs or upgrades the release and waits until it is available.

    Args:
        cluster: where.
        values: `key=value` settings that differ from the chart's defaults.
        release: the release's name.
        namespace: its namespace, made when it is missing.
    """
    settings = [f"--set={value}" for value in (*_pins(), *values)]
    helm(
        cluster.kubeconfig, "upgrade", "--install", release, str(CHART), f"--namespace={namespace}",
        "--create-namespace", "--wait", "--timeout=120s", *settings,
    )  # fmt: skip


def _pins() -> list[str]:
    """The product's images by digest, so that a rebuilt image rolls what runs it.

    Docker's archives carry no digest that a node would know: on kind a rebuilt image needs a new cluster.
    """
    if builder.docker_answers():
        return []
    return [
        f"{prefix}.digest={images.archive(name).digest}"
        for prefix, name in zip(("image", "serving.image"), images.PRODUCT, strict=True)
    ]


def helm(kubeconfig: Path, *arguments: str) -> str:
    """What helm prints.

    Raises:
        HelmError: it ended with an error.
    """
    done = subprocess.run(
        [tools.path("helm"), "--kubeconfig", kubeconfig, *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise HelmError(done.stderr.strip() or done.stdout.strip())
    return done.stdout
