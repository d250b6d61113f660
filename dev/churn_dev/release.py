"""The chart on a cluster: installed or upgraded by Helm."""

import subprocess
from pathlib import Path

from churn_dev import builder, images, tools
from churn_dev.cluster import Cluster, up
from churn_dev.paths import ROOT

NAMESPACE = "churn-operator"
CHART = ROOT / "helm/churn-operator"
BEFORE = ROOT / "tests/deploy/fixtures/release-0.1.0"
"""Chart and operator as they were released before."""
CHART_BEFORE = BEFORE / "churn-operator-0.1.0.tgz"


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
    cluster: Cluster,
    *values: str,
    release: str = "churn-operator",
    namespace: str = NAMESPACE,
    chart: Path = CHART,
    operator: str = images.OPERATOR,
) -> None:
    """Installs or upgrades the release and waits until it is available.

    Args:
        cluster: where.
        values: `key=value` settings that differ from the chart's defaults.
        release: the release's name.
        namespace: its namespace, made when it is missing.
        chart: a directory or an archive.
        operator: its image.
    """
    pins = (*_pins("image", operator), *_pins("serving.image", images.SERVING))
    settings = [f"--set={value}" for value in (*pins, *values)]
    helm(
        cluster.kubeconfig, "upgrade", "--install", release, str(chart), f"--namespace={namespace}",
        "--create-namespace", "--wait", "--timeout=120s", *settings,
    )  # fmt: skip


def go_back(cluster: Cluster) -> None:
    """Takes the release to the one before, on the libraries and with the serving image of today.

    Another serving image would roll the pods, and rightly so. The CRD stays, as with `helm rollback`.
    """
    (wheel,) = BEFORE.glob("*.whl")
    operator = images.build_operator_before(wheel)
    cluster.load_image(operator)
    install(cluster, "upgradeCRD=false", chart=CHART_BEFORE, operator=operator)


def _pins(prefix: str, image: str) -> list[str]:
    """The image by digest, so that a rebuilt one rolls what runs it.

    Docker's archives carry no digest that a node would know: on kind a rebuilt image needs a new cluster.
    """
    repository, _, tag = image.rpartition(":")
    digest = "" if builder.docker_answers() else images.archive(image).digest
    return [f"{prefix}.repository={repository}", f"{prefix}.tag={tag}", f"{prefix}.digest={digest}"]


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
