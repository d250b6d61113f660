"""The chart on real nodes: installed, tested, upgraded, removed; twice in namespaces; and without Helm."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from churn_dev import images, tools
from churn_dev.churnmodel import churn_model, restricted_namespace, wait_ready
from churn_dev.cluster import LANES, Cluster, down, up
from churn_dev.generate import CHART, CRD, ROOT, SAMPLES
from churn_dev.kubectl import Kubectl, KubectlError, Object, wait_until
from churn_dev.release import HelmError, helm

pytestmark = pytest.mark.cluster

NAME = f"{LANES}-chart"
SAMPLE = next(obj for obj in yaml.safe_load_all((SAMPLES / "telco.yaml").read_text()))
MODEL: Object = SAMPLE["spec"]["model"]

Release = Callable[..., Kubectl]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def bare() -> Iterator[Cluster]:
    """A cluster of its own with the images on its node and no operator: releases come and go here."""
    images.build_product()
    images.build_bundle(images.SAMPLE, SAMPLES / "bundle")
    cluster = up(name=NAME, nodes=1)
    for image in (*images.PRODUCT, images.SAMPLE):
        cluster.load_image(image)
    yield cluster
    if "CHURN_KEEP_CLUSTER" not in os.environ:
        down(NAME)


@pytest.fixture
def admin(bare: Cluster) -> Kubectl:
    """Everything, as the cluster's administrator."""
    return Kubectl(bare.kubeconfig)


@pytest.fixture
def new_namespace(admin: Kubectl) -> Iterator[Callable[[str], Kubectl]]:
    """Makes namespaces that enforce Pod Security `restricted`, each under a name that no test before had.

    Their end takes half a minute each and nobody waits for it.
    """
    made: list[str] = []

    def make(name: str) -> Kubectl:
        made.append(f"{name}-{os.getpid()}-{next(_numbers)}")
        admin.apply(restricted_namespace(made[-1]))
        return admin.within(made[-1])

    yield make
    for name in made:
        admin.delete("namespace", name, wait=False)


@pytest.fixture
def install(bare: Cluster, new_namespace: Callable[[str], Kubectl], tmp_path: Path) -> Iterator[Release]:
    """Installs or upgrades a release called `release`: in a namespace of its own, or in the one given.

    What was installed goes at the end.
    """
    installed: dict[str, Kubectl] = {}

    def install(values: Object, *options: str, into: Kubectl | None = None, chart: Path = CHART) -> Kubectl:
        kubectl = into or new_namespace("release")
        installed[kubectl.namespace] = kubectl
        file = tmp_path / f"{kubectl.namespace}.yaml"
        file.write_text(yaml.safe_dump(values))
        command = [
            "upgrade",
            "--install",
            "release",
            str(chart),
            f"--namespace={kubectl.namespace}",
            f"--values={file}",
        ]
        helm(bare.kubeconfig, *command, "--timeout=120s", *(options or ["--wait"]))
        return kubectl

    yield install
    for kubectl in installed.values():
        uninstall(kubectl)


def uninstall(kubectl: Kubectl) -> None:
    """Removes the release, where it is still there, and waits until its objects are gone."""
    command = ["uninstall", "release", f"--namespace={kubectl.namespace}", "--ignore-not-found", "--wait"]
    helm(kubectl.kubeconfig, *command)


def helm_test(kubectl: Kubectl, *options: str) -> str:
    """What `helm test` prints, the pod's lines included; these go to standard error."""
    command = [
        tools.path("helm"),
        "--kubeconfig",
        kubectl.kubeconfig,
        "test",
        "release",
        "--namespace",
        kubectl.namespace,
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise HelmError(done.stderr)
    return done.stdout + done.stderr


def small(**spec: object) -> Object:
    """The spec of a ChurnModel of one small replica."""
    return churn_model("any", MODEL, **spec)["spec"]


def schema_of_spec(crd: Object) -> Object:
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def explained(admin: Kubectl, field: str) -> str:
    """What `kubectl explain` says; nothing before the API server has published the field."""
    try:
        return admin.run("explain", field)
    except KubectlError:
        return ""


@pytest.fixture
def newer_chart(tmp_path: Path) -> Path:
    """A copy of the chart whose CRD knows one more field, as the next version's will."""
    chart = tmp_path / "churn-operator"
    shutil.copytree(CHART, chart)
    crd = yaml.safe_load((chart / "crds" / CRD).read_text())
    schema_of_spec(crd)["note"] = {"type": "string", "description": "New in this version."}
    (chart / "crds" / CRD).write_text(yaml.safe_dump(crd))
    return chart


class TestClusterWide:
    def test_a_release_brings_its_models_and_helm_test_asks_them(self, install: Release):
        kubectl = install({"models": {"telco": small()}})
        wait_ready(kubectl, "telco")
        said = helm_test(kubectl)
        assert "operator: ready" in said
        assert "telco: version 1 answers" in said
        assert kubectl.get("pod", "release-churn-operator-test") is None

    def test_helm_test_of_a_release_without_models_looks_at_the_operator(self, install: Release):
        assert "operator: ready" in helm_test(install({}))

    def test_helm_test_fails_where_a_model_does_not_answer(self, install: Release):
        kubectl = install({"models": {"telco": small(suspend=True)}}, "--wait=hookOnly")
        with pytest.raises(HelmError, match="release-churn-operator-test"):
            helm_test(kubectl, "--timeout=10s")

    def test_an_upgrade_changes_the_crd_and_restarts_no_model(
        self, install: Release, admin: Kubectl, newer_chart: Path
    ):
        kubectl = install({"models": {"telco": small()}})
        wait_ready(kubectl, "telco")
        serving = {pod["metadata"]["uid"] for pod in kubectl.list("pods", "churnops.io/model=telco")}

        install({"models": {"telco": small()}}, into=kubectl, chart=newer_chart)

        assert "note" in schema_of_spec(admin.get("crd", "churnmodels.churnops.io") or {})
        wait_until(lambda: "New in this version." in explained(admin, "churnmodel.spec.note"), "its meaning")
        assert {pod["metadata"]["uid"] for pod in kubectl.list("pods", "churnops.io/model=telco")} == serving
        hook = "release-churn-operator-crd"
        assert not any(
            kubectl.get(kind, hook) for kind in ("job", "configmap", "serviceaccount", "clusterrole")
        )

        install({"models": {"telco": small()}}, into=kubectl)
        assert "note" not in schema_of_spec(admin.get("crd", "churnmodels.churnops.io") or {})

    def test_removal_keeps_the_crd_and_the_models_of_others(
        self, install: Release, admin: Kubectl, new_namespace: Callable[[str], Kubectl]
    ):
        platform = install({"models": {"telco": small()}})
        team = new_namespace("team")
        team.apply(churn_model("telco", MODEL))
        wait_ready(team, "telco")

        uninstall(platform)

        assert platform.list("churnmodels") == []
        assert [model["metadata"]["name"] for model in team.list("churnmodels")] == ["telco"]
        assert team.list("pods", "churnops.io/model=telco")
        leftovers = admin.run(
            "get", "clusterrole,clusterrolebinding", "-o=name", "-l=app.kubernetes.io/instance=release"
        )
        assert leftovers == ""

    def test_a_later_installation_meets_no_conflict_over_the_crd(self, install: Release, newer_chart: Path):
        kubectl = install({})
        install({}, into=kubectl)
        uninstall(kubectl)
        install({}, into=kubectl, chart=newer_chart)
        install({}, into=kubectl)


class TestNamespaced:
    VALUES: Object = {"namespaced": True, "models": {"telco": small()}}  # noqa: RUF012

    def test_two_releases_serve_side_by_side(self, install: Release):
        releases = [install(self.VALUES), install(self.VALUES)]
        for kubectl in releases:
            wait_ready(kubectl, "telco")
            assert "telco: version 1 answers" in helm_test(kubectl)

    def test_the_second_can_be_installed_by_someone_without_cluster_rights(
        self, install: Release, new_namespace: Callable[[str], Kubectl]
    ):
        install(self.VALUES)
        tenant = new_namespace("tenant")
        binding = {"kind": "ClusterRole", "name": "admin", "apiGroup": "rbac.authorization.k8s.io"}
        user = {"kind": "User", "name": "tenant", "apiGroup": "rbac.authorization.k8s.io"}
        rights = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "models"},
            "rules": [
                {"apiGroups": ["churnops.io", "apps", "events.k8s.io"], "resources": ["*"], "verbs": ["*"]}
            ],
        }
        tenant.apply(rights)
        for name, role in {"admin": binding, "models": binding | {"kind": "Role", "name": "models"}}.items():
            tenant.apply(
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "RoleBinding",
                    "metadata": {"name": f"tenant-{name}"},
                    "roleRef": role,
                    "subjects": [user],
                }
            )
        wait_until(lambda: tenant.may("tenant", "create", "churnmodels"), "the tenant's rights")
        install(self.VALUES, "--skip-crds", "--kube-as-user=tenant", "--wait", into=tenant)
        wait_ready(tenant, "telco")

    def test_other_namespaces_are_left_alone(self, install: Release, new_namespace: Callable[[str], Kubectl]):
        served = install({"namespaced": True})
        elsewhere = new_namespace("elsewhere")
        elsewhere.apply(churn_model("telco", MODEL))
        served.apply(churn_model("telco", MODEL))
        wait_ready(served, "telco")
        (untouched,) = elsewhere.list("churnmodels")
        assert "status" not in untouched
        assert elsewhere.list("deployments") == []

    def test_no_cluster_role_is_made(self, install: Release, admin: Kubectl):
        install({"namespaced": True})
        assert admin.run("get", "clusterrole", "-o=name", "-l=app.kubernetes.io/instance=release") == ""


def test_without_helm_the_manifest_and_every_sample_work_as_they_stand(
    admin: Kubectl, new_namespace: Callable[[str], Kubectl]
):
    operator = admin.within("churn-operator")
    operator.run("apply", "--server-side", "--force-conflicts", f"--filename={ROOT / 'k8s/install.yaml'}")
    operator.run("rollout", "status", "deployment/churn-operator", "--timeout=60s")
    kubectl = new_namespace("samples")
    kubectl.run("apply", f"--filename={SAMPLES}")
    try:
        samples = {model["metadata"]["name"] for model in kubectl.list("churnmodels")}
        assert samples == {"telco", "telco-autoscaled", "telco-pvc"}
        for name in samples:
            wait_ready(kubectl, name)
    finally:
        kubectl.run("delete", f"--filename={SAMPLES}")
        wait_until(lambda: not kubectl.list("pods", "churnops.io/model"), "the samples' pods to end")
        keep_crd = ["namespace,deployment,serviceaccount,clusterrole,clusterrolebinding"]
        operator.run(
            "delete",
            *keep_crd,
            "--selector=app.kubernetes.io/instance=churn-operator",
            "--all-namespaces=false",
        )
        admin.delete("namespace", "churn-operator", wait=False)
