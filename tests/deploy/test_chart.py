"""What the chart renders, mode by mode."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from churn_dev.generate import CHART
from churn_dev.kubectl import Object

Render = Callable[..., list[Object]]

CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding"}
_ALERTS, DEFAULT, EVERYTHING, MODELS, NAMESPACED = CI_VALUES


def of_kind(objects: list[Object], kind: str):
    return [obj for obj in objects if obj["kind"] == kind]


def operator_container(objects: list[Object]):
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def identities(objects: list[Object]):
    return {(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]) for obj in objects}


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
class TestEveryMode:
    def test_objects_name_the_release_and_its_namespace(self, render: Render, values: Path):
        objects = render(values, release="mine", namespace="there")
        for obj in objects:
            scope = None if obj["kind"] in CLUSTER_WIDE else "there"
            assert obj["metadata"].get("namespace") == scope, obj
            assert obj["metadata"]["labels"]["app.kubernetes.io/instance"] == "mine", obj

    def test_no_object_is_rendered_twice(self, render: Render, values: Path):
        objects = render(values)
        assert len(identities(objects)) == len(objects)

    def test_no_image_floats(self, render: Render, values: Path):
        images = re.findall(r"'image': '([^']*)'", str(render(values)))
        assert images
        assert [
            image for image in images if not re.search(r":[0-9][^:/]*$|@sha256:[0-9a-f]{64}$", image)
        ] == []

    def test_one_operator_writes_at_a_time(self, render: Render, values: Path):
        """It is alone, replaced before the next one starts, or asks for the Lease."""
        objects = render(values)
        (deployment,) = of_kind(objects, "Deployment")
        alone = deployment["spec"]["replicas"] == 1
        assert (deployment["spec"]["strategy"] == {"type": "Recreate"}) is alone
        variables = {each["name"]: each.get("value") for each in operator_container(objects)["env"]}
        asked = None if alone else "churn-operator/churn-operator"
        assert variables.get("CHURN_OPERATOR_LEASE") == asked

    def test_the_deployment_selects_its_own_pods_only(self, render: Render, values: Path):
        objects = render(values)
        (deployment,) = of_kind(objects, "Deployment")
        selector = deployment["spec"]["selector"]["matchLabels"].items()
        assert selector <= deployment["spec"]["template"]["metadata"]["labels"].items()
        for hook in of_kind(objects, "Pod") + [job["spec"]["template"] for job in of_kind(objects, "Job")]:
            assert not selector <= hook["metadata"]["labels"].items()


class TestClusterWide:
    def test_the_operator_watches_every_namespace(self, render: Render):
        names = {variable["name"] for variable in operator_container(render(DEFAULT))["env"]}
        assert "CHURN_OPERATOR_NAMESPACE" not in names

    def test_an_upgrade_applies_the_charts_own_crd(self, render: Render):
        (config,) = [obj for obj in of_kind(render(DEFAULT), "ConfigMap") if "crd.yaml" in obj["data"]]
        (crd,) = (CHART / "crds").glob("*.yaml")
        assert config["data"]["crd.yaml"].strip() == crd.read_text().strip()

    def test_the_hook_may_change_that_one_crd_and_nothing_else(self, render: Render):
        (role,) = [
            obj for obj in of_kind(render(DEFAULT), "ClusterRole") if obj["metadata"]["name"].endswith("-crd")
        ]
        (crd,) = (CHART / "crds").glob("*.yaml")
        assert role["rules"] == [
            {
                "apiGroups": ["apiextensions.k8s.io"],
                "resources": ["customresourcedefinitions"],
                "resourceNames": [crd.stem],
                "verbs": ["patch"],
            }
        ]

    def test_the_hook_can_be_left_out(self, render: Render):
        assert of_kind(render({"upgradeCRD": False}), "Job") == []

    def test_the_default_release_opens_nothing(self, render: Render):
        objects = [
            obj for obj in render(DEFAULT) if "helm.sh/hook" not in obj["metadata"].get("annotations", {})
        ]
        assert sorted(obj["kind"] for obj in objects) == [
            "ClusterRole",
            "ClusterRoleBinding",
            "Deployment",
            "ServiceAccount",
        ]


class TestNamespaced:
    def test_no_right_reaches_beyond_the_namespace(self, render: Render):
        assert {obj["kind"] for obj in render(NAMESPACED)} & CLUSTER_WIDE == set()

    def test_the_operator_watches_the_namespace_of_the_release(self, render: Render):
        variables = {variable["name"]: variable for variable in operator_container(render(NAMESPACED))["env"]}
        field = variables["CHURN_OPERATOR_NAMESPACE"]["valueFrom"]["fieldRef"]["fieldPath"]
        assert field == "metadata.namespace"

    def test_the_crd_is_left_to_the_administrator(self, render: Render):
        assert of_kind(render(NAMESPACED), "Job") == []

    def test_two_releases_share_no_object(self, render: Render):
        one = render(NAMESPACED, release="churn-operator", namespace="one")
        other = render(NAMESPACED, release="churn-operator", namespace="other")
        assert identities(one) & identities(other) == set()

    def test_two_releases_in_one_namespace_share_no_object(self, render: Render):
        assert (
            identities(render(NAMESPACED, release="one")) & identities(render(NAMESPACED, release="other"))
            == set()
        )

    def test_the_rights_are_those_of_the_cluster_wide_mode(self, render: Render):
        (role,) = of_kind(render(NAMESPACED), "Role")
        (cluster_role,) = [
            obj
            for obj in of_kind(render(DEFAULT), "ClusterRole")
            if obj["metadata"]["name"] == "churn-operator"
        ]
        assert role["rules"] == cluster_role["rules"]

    def test_aggregated_roles_are_refused(self, render: Render):
        with pytest.raises(ValueError, match="aggregateRoles needs ClusterRoles"):
            render({"namespaced": True, "aggregateRoles": True})


class TestModels:
    def test_each_becomes_a_churn_model_with_that_spec(self, render: Render):
        specs = {
            "telco": {"model": {"uri": "pvc://models/telco", "digest": "sha256:" + "0" * 64}},
            "retail": {
                "model": {"uri": "pvc://models/retail", "digest": "sha256:" + "1" * 64},
                "replicas": 3,
            },
        }
        models = of_kind(render({"models": specs}), "ChurnModel")
        assert {model["metadata"]["name"]: model["spec"] for model in models} == specs

    def test_helm_test_asks_each(self, render: Render):
        (pod,) = of_kind(render(MODELS), "Pod")
        assert pod["spec"]["containers"][0]["args"] == ["retail", "telco"]

    def test_the_test_asks_no_model_that_wants_a_key_or_another_name_or_speaks_tls(self, render: Render):
        model = {"model": {"uri": "oci://registry.example/telco:1", "digest": "sha256:" + "0" * 64}}
        models = {
            "open": model | {"serving": {"podLabels": {"team": "a"}}},
            "plain": model,
            "keyed": model | {"serving": {"auth": {"apiKeysSecret": "keys"}}},
            "secure": model | {"serving": {"tls": {"secretName": "certificate"}}},
            "named": model | {"serving": {"allowedHosts": ["churn.example"]}},
            "shown": model | {"serving": {"corsOrigins": ["https://crm.example"]}},
        }
        (pod,) = of_kind(render({"models": models}), "Pod")
        assert pod["spec"]["containers"][0]["args"] == ["open", "plain", "shown"]


def test_a_long_release_name_gives_names_that_kubernetes_takes(render: Render):
    for obj in render(EVERYTHING, release="a" * 53):
        assert len(obj["metadata"]["name"]) <= 63


def test_a_digest_wins_over_the_tag(render: Render):
    digest = "sha256:" + "a" * 64
    container = operator_container(render({"image": {"tag": "1", "digest": digest}}))
    assert container["image"] == f"docker.io/churnops/churn-operator@{digest}"
