"""Each thing that the doctor looks at: what it says of it, and that it says what to do."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from churn_kubectl.cluster import Cluster
from churn_kubectl.doctor import Finding, Level, examine
from churn_kubectl.errors import ClusterError, ForbiddenError, KindUnknownError
from churn_operator.crdgen import build_crd

Json = dict[str, Any]
OLD = "models from oci:// need 1.35"


def listed(*items: Json) -> str:
    return json.dumps({"items": items})


def node(version: str = "v1.36.0", ready: str = "True") -> Json:
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": {"name": "one"},
        "status": {"nodeInfo": {"kubeletVersion": version}, "conditions": conditions},
    }


def operator(available: int) -> Json:
    pod = {"spec": {"containers": [{"image": "churn-operator:1"}]}}
    return {
        "metadata": {"name": "churn-operator", "namespace": "churn"},
        "spec": {"template": pod},
        "status": {"availableReplicas": available},
    }


def model(annotations: Json | None = None, source: Json | None = None, **spec: Any) -> str:
    """A list of one ChurnModel."""
    spec = {"model": {"uri": "oci://registry.example/telco:1"} | (source or {}), "replicas": 2} | spec
    return listed({"metadata": {"name": "telco", "annotations": annotations or {}}, "spec": spec})


def crd_of_another_version() -> str:
    crd = build_crd()
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del properties["suspend"]
    return json.dumps(crd)


AUTOSCALING = {"minReplicas": 2, "maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
GOOD: dict[str, str | ClusterError] = {
    "get --raw=/version": '{"gitVersion": "v1.36.0"}',
    "get nodes": listed(node()),
    "get customresourcedefinition": json.dumps(build_crd()),
    "get deployments": listed(operator(1)),
    "auth can-i": "yes",
    "get churnmodels": model(autoscaling=AUTOSCALING),
    "get --raw=/apis/metrics.k8s.io": "{}",
    "get ": "one/of-that-name",
}
"""What kubectl prints in a cluster that has all that is needed, by how its arguments begin."""


@dataclass(frozen=True)
class Known(Cluster):
    """A cluster of which only these answers are known."""

    answers: dict[str, str | ClusterError] = field(default_factory=dict)

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        assert stdin is None
        asked = " ".join(arguments)
        answer = next(said for begins, said in self.answers.items() if asked.startswith(begins))
        if isinstance(answer, ClusterError):
            raise answer
        return answer


def found(changed: dict[str, str | ClusterError]) -> list[Finding]:
    """What is wrong in a cluster that differs from a good one in this."""
    findings = list(examine(Known(answers=changed | {k: v for k, v in GOOD.items() if k not in changed})))
    return [each for each in findings if each.level is not Level.GOOD]


def missing(kind: str, spec: str) -> dict[str, str | ClusterError]:
    """A ChurnModel that names an object of a kind of which there is none."""
    return {"get churnmodels": spec, f"get {kind} lost": ""}


JWT = {"issuer": "https://id.example", "audience": "churn"}
NO_KIND = 'error: the server doesn\'t have a resource type "churnmodels"'
CASES: dict[str, tuple[dict[str, str | ClusterError], Level, str, str]] = {
    "old server": ({"get --raw=/version": '{"gitVersion": "v1.34.9"}'}, Level.BAD, OLD, "upgrade it"),
    "old node": ({"get nodes": listed(node("v1.34.9"))}, Level.BAD, f"one runs v1.34.9: {OLD}", "upgrade it"),
    "version that nobody knows": ({"get --raw=/version": '{"gitVersion": "x"}'}, Level.BAD, OLD, "upgrade"),
    "node that is not ready": (
        {"get nodes": listed(node(ready="False"))}, Level.WARNING, "one is not Ready", "describe node one",
    ),
    "nodes that one may not list": (
        {"get nodes": ForbiddenError("nodes is forbidden (Forbidden)")}, Level.UNKNOWN, "nodes",
        "ask whoever",
    ),
    "CRD of another version": (
        {"get customresourcedefinition": crd_of_another_version()}, Level.WARNING,
        "another version", "update one",
    ),
    "no operator": ({"get deployments": listed()}, Level.BAD, "no operator is installed", "helm install"),
    "operator that is not available": (
        {"get deployments": listed(operator(0))}, Level.BAD, "churn/churn-operator is not available",
        "kubectl logs -n churn deployment/churn-operator",
    ),
    "right that is missing": (
        {"auth can-i patch": ClusterError("no")}, Level.WARNING, "may not patch churnmodels.churnops.io",
        "ask for",
    ),
    "no metrics API": (
        {"get --raw=/apis/metrics.k8s.io": ClusterError("NotFound")}, Level.BAD, "no metrics API",
        "metrics-server",
    ),
    "paused": (
        {"get churnmodels": model({"churnops.io/paused": "true"})}, Level.WARNING, "telco is paused",
        "annotate churn telco churnops.io/paused-",
    ),
    "one replica": (
        {"get churnmodels": model(replicas=1)}, Level.WARNING, "runs one replica", "set replicas",
    ),
    "account that is not lent": (
        {
            "get churnmodels": model(serving={"serviceAccountName": "mine"}),
            "get serviceaccount mine": '{"metadata": {}}',
        },
        Level.BAD, "the ServiceAccount mine, which is not lent", "kubectl label serviceaccount mine",
    ),
    "account that is missing": (
        {"get churnmodels": model(serving={"serviceAccountName": "mine"}), "get serviceaccount mine": ""},
        Level.BAD, "the ServiceAccount mine, which is not lent", "kubectl label serviceaccount mine",
    ),
    "imagePullSecrets": (
        missing("secret", model(serving={"imagePullSecrets": [{"name": "lost"}]})), Level.BAD,
        "telco names imagePullSecrets lost, which does not exist", "create the secret lost",
    ),
    "credentialsSecret": (
        missing("secret", model(source={"credentialsSecret": "lost"})), Level.BAD,
        "telco names credentialsSecret lost, which does not exist", "create the secret lost",
    ),
    "claim": (
        missing("persistentvolumeclaim", model(source={"uri": "pvc://lost/telco"})), Level.BAD,
        "telco names the claim lost, which does not exist", "create the persistentvolumeclaim lost",
    ),
    "PriorityClass": (
        missing("priorityclass", model(serving={"priorityClassName": "lost"})), Level.BAD,
        "telco names priorityClassName lost, which does not exist", "create the priorityclass lost",
    ),
    "API keys": (
        missing("secret", model(serving={"auth": {"apiKeysSecret": "lost"}})), Level.BAD,
        "telco names auth.apiKeysSecret lost, which does not exist", "create the secret lost",
    ),
    "JWKS in a Secret": (
        missing("secret", model(serving={"auth": {"jwt": JWT | {"jwksSecret": "lost"}}})), Level.BAD,
        "telco names auth.jwt.jwksSecret lost, which does not exist", "create the secret lost",
    ),
    "JWKS in a ConfigMap": (
        missing("configmap", model(serving={"auth": {"jwt": JWT | {"jwksConfigMap": "lost"}}})), Level.BAD,
        "telco names auth.jwt.jwksConfigMap lost, which does not exist", "create the configmap lost",
    ),
    "certificate": (
        missing("secret", model(serving={"tls": {"secretName": "lost"}})), Level.BAD,
        "telco names tls.secretName lost, which does not exist", "create the secret lost",
    ),
}  # fmt: skip


def test_a_cluster_that_has_all_is_found_good():
    assert found({}) == []


@pytest.mark.parametrize("case", CASES)
def test_one_thing_that_is_wrong_is_the_one_that_is_told_with_its_mend(case: str):
    changed, level, words, mend = CASES[case]
    (finding,) = found(changed)
    assert finding.level is level
    assert words in finding.what
    assert mend in finding.mend


def test_without_the_crd_its_mend_is_told_and_no_other():
    findings = found({"get customresourcedefinition": "", "get churnmodels": KindUnknownError(NO_KIND)})
    assert "is not installed" in findings[0].what
    assert {each.level for each in findings} == {Level.BAD}
    assert all("kubectl apply --server-side -f crds/" in each.mend for each in findings)


def test_a_kind_that_the_cluster_lacks_is_known_by_what_kubectl_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{NO_KIND}\nEND\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("KUBECTL", str(program))
    with pytest.raises(KindUnknownError, match="resource type"):
        Cluster().find("churnmodels")


def test_a_secret_that_one_may_not_read_may_well_be_there():
    forbidden = ForbiddenError('secrets "lost" is forbidden (Forbidden)')
    named = model(serving={"tls": {"secretName": "lost"}})
    assert found({"get churnmodels": named, "get secret lost": forbidden}) == []


def test_a_cluster_that_does_not_answer_is_all_that_is_told():
    (finding,) = found({"get --raw=/version": ClusterError("The connection was refused\nmore")})
    assert (finding.level, finding.what) == (Level.BAD, "The connection was refused")
    assert "kubectl cluster-info" in finding.mend
