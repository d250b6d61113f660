"""A real API server takes what the chart renders and the samples say, under Pod Security `restricted`."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from churn_dev.generate import CHART, ROOT, SAMPLES
from churn_dev.kubectl import Kubectl, KubectlError, Object, wait_until

Render = Callable[..., list[Object]]

pytestmark = pytest.mark.api

CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))


def pods_in(objects: list[Object]):
    """The pods that the objects are or make; without their accounts, which do not exist in a dry run."""
    for obj in objects:
        template = {"Pod": obj}.get(obj["kind"]) or obj.get("spec", {}).get("template")
        if template and "containers" in template.get("spec", {}):
            spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
            name = f"{obj['kind'].lower()}-{obj['metadata']['name']}"
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def admit(kubectl: Kubectl, *objects: Object):
    """A strict server-side dry run: unknown fields and pods that Pod Security refuses end in KubectlError."""
    listing = yaml.safe_dump_all(objects)
    kubectl.run(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename=-", stdin=listing
    )


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
class TestChart:
    def test_every_object_is_valid(self, render: Render, restricted: Kubectl, values: Path):
        objects = render(values, namespace="restricted")
        # The Prometheus Operator's kinds are not Kubernetes' own: this API server does not know them.
        admit(restricted, *[obj for obj in objects if "monitoring.coreos.com" not in obj["apiVersion"]])

    def test_every_pod_is_admitted(self, render: Render, restricted: Kubectl, values: Path):
        pods = list(pods_in(render(values, namespace="restricted")))
        assert len(pods) >= 2
        admit(restricted, *pods)


def test_a_pod_with_more_rights_would_be_refused(render: Render, restricted: Kubectl):
    """So that the tests above can fail."""
    pod = next(pods_in(render(namespace="restricted")))
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        admit(restricted, pod)


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_sample_is_valid(restricted: Kubectl, sample: Path):
    objects = list(yaml.safe_load_all(sample.read_text()))
    admit(restricted, *objects, *pods_in(objects))


def test_the_examples_in_the_samples_readme_are_valid(restricted: Kubectl):
    blocks = re.findall(r"```yaml\n(.*?)```", (SAMPLES / "README.md").read_text(), re.DOTALL)
    objects = [obj for block in blocks for obj in yaml.safe_load_all(block)]
    assert {obj["kind"] for obj in objects} == {"Secret", "ChurnModel"}
    admit(restricted, *objects)


def test_the_manifest_without_helm_makes_an_operator_pod(api: Kubectl):
    """Applied as it stands: the namespace it makes enforces `restricted`, and the pod gets past that."""
    namespace, manifest = api.within("churn-operator"), ROOT / "k8s/install.yaml"
    namespace.run(
        "apply", "--server-side", "--validate=strict", "--force-conflicts", f"--filename={manifest}"
    )
    (pod,) = wait_until(lambda: namespace.list("pods"), "a pod of the operator")
    assert pod["spec"]["serviceAccountName"] == "churn-operator"
    namespace.run("delete", "deployment", "churn-operator")


def test_aggregated_roles_let_a_namespaces_editor_write_models(api: Kubectl, render: Render):
    objects = [obj for obj in render({"aggregateRoles": True}) if obj["kind"] == "ClusterRole"]
    api.apply(*[obj for obj in objects if "aggregate-to" in str(obj["metadata"]["labels"])])
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User"}],
    }
    for role in ("view", "edit"):
        binding["metadata"] = {"name": role}
        binding["roleRef"]["name"] = binding["subjects"][0]["name"] = role
        api.apply(binding)

    for user, verb in (("view", "get"), ("edit", "get"), ("edit", "delete")):
        wait_until(lambda u=user, v=verb: api.may(u, v, "churnmodels"), f"the right to {verb} of {user}")
    assert not api.may("view", "delete", "churnmodels")
