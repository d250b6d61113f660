"""From the release before to this one and back, with ChurnModels that serve: nothing of them moves."""

import dataclasses
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from churn_dev import tools
from churn_dev.cluster import Cluster
from churn_dev.fleet import is_ready
from churn_dev.kubectl import Kubectl, Object, wait_until
from churn_dev.operator_process import SYSTEM, Operator, install_rights
from churn_dev.release import BEFORE, CHART, CHART_BEFORE

pytestmark = pytest.mark.api

Build = Callable[..., Object]

NAMES = [f"telco-{number:02}" for number in range(20)]
SCALED = NAMES[1]
"""An autoscaler took over its four replicas under the release before."""
AUTOSCALING = {"minReplicas": 1, "maxReplicas": 8, "targetCPUUtilizationPercentage": 70}
SAME_IMAGE = {"SERVING_IMAGE": "registry.example/serving:1"}
"""A new serving image would roll the pods, and rightly so."""


@pytest.fixture
def releases(cluster: Cluster, operator: Operator, tmp_path: Path) -> Iterator[tuple[Operator, Operator]]:
    """The operator of the release before and this one's, neither of them running."""
    operator.stop()
    now = dataclasses.replace(operator, settings=SAME_IMAGE)
    (wheel,) = BEFORE.glob("*.whl")
    yield dataclasses.replace(now, package=wheel, log=tmp_path / "before.log"), now
    install(cluster, CHART)
    apply_crd(cluster, CHART)
    operator.start()


def install(cluster: Cluster, chart: Path) -> None:
    """The rights that a release gives its operator, in the place of another's."""
    install_rights(cluster.kubeconfig, SYSTEM, chart=chart)


def apply_crd(cluster: Cluster, chart: Path) -> None:
    """What the chart's hook does on an upgrade."""
    command = [tools.path("helm"), "show", "crds", chart]
    crd = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kubectl = Kubectl(cluster.kubeconfig)
    kubectl.run("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=crd)


class Standing(NamedTuple):
    """Specs and pod templates by name, and the pods."""

    specs: dict[str, Object]
    templates: dict[str, Object]
    pods: set[str]

    def assert_kept(self, after: "Standing") -> None:
        """A later CRD may fill in defaults of fields that are new."""
        assert (after.templates, after.pods) == (self.templates, self.pods)
        for name, spec in self.specs.items():
            assert spec.items() <= after.specs[name].items()


def standing(kubectl: Kubectl, kubelet: Any) -> Standing:
    """Waits until every ChurnModel is Ready, with as many pods as asked for."""

    def all_ready() -> tuple[list[Object], list[Object]] | None:
        kubelet.start_all()
        models, deployments = kubectl.list("churnmodels"), kubectl.list("deployments")
        return (
            (models, deployments) if all(map(is_ready, models)) and all(map(is_full, deployments)) else None
        )

    models, deployments = wait_until(all_ready, "every ChurnModel Ready", seconds=300)
    assert len(models) == len(deployments) == len(NAMES)
    return Standing(
        {each["metadata"]["name"]: each["spec"] for each in models},
        {each["metadata"]["name"]: each["spec"]["template"] for each in deployments},
        {pod["metadata"]["uid"] for pod in kubelet.pods()},
    )


def is_full(deployment: Object) -> bool:
    counts = deployment.get("status", {})
    return {counts.get("replicas"), counts.get("readyReplicas")} == {deployment["spec"]["replicas"]}


def replicas(kubectl: Kubectl) -> int:
    return int((kubectl.get("deployment", SCALED) or {"spec": {"replicas": 0}})["spec"]["replicas"])


def test_nothing_of_a_model_moves_on_an_upgrade_and_on_the_way_back(
    namespace: Kubectl, model: Build, kubelet: Any, cluster: Cluster, releases: tuple[Operator, Operator]
) -> None:
    before, now = releases
    install(cluster, CHART_BEFORE)
    apply_crd(cluster, CHART_BEFORE)
    before.start()
    namespace.apply(*(model(replicas=1) | {"metadata": {"name": name}} for name in NAMES))
    namespace.patch("churnmodel", SCALED, {"spec": {"replicas": 4}})
    wait_until(lambda: replicas(namespace) == 4, "four replicas", seconds=60)
    namespace.patch("churnmodel", SCALED, {"spec": {"autoscaling": AUTOSCALING}})
    wait_until(lambda: namespace.get("horizontalpodautoscaler", SCALED), "the autoscaler", seconds=60)
    served = standing(namespace, kubelet)
    before.stop()

    install(cluster, CHART)
    apply_crd(cluster, CHART)
    now.start()
    now.settle(now.audit())
    served.assert_kept(standing(namespace, kubelet))

    namespace.patch(
        "churnmodel", NAMES[0], {"spec": {"rollback": "manual"}}
    )  # the release before knows no such
    now.settle(now.audit())
    changed = standing(namespace, kubelet)
    assert (changed.templates, changed.pods) == (served.templates, served.pods)

    namespace.patch("churnmodel", SCALED, {"spec": {"serving": {"podLabels": {"team": "a"}}}})
    now.settle(now.audit())
    changed = standing(namespace, kubelet)
    assert changed.templates[SCALED]["metadata"]["labels"]["team"] == "a"
    assert replicas(namespace) == 4
    now.stop()

    install(cluster, CHART_BEFORE)  # the CRD stays, as with `helm rollback`
    before.start()
    before.settle(before.audit())
    changed.assert_kept(standing(namespace, kubelet))
    before.stop()
