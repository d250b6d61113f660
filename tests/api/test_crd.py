"""The CRD on a real API server: what it refuses, with which words, and what it fills in."""

import json
from collections.abc import Callable

import pytest

from churn_dev.kubectl import Kubectl, KubectlError, Object

pytestmark = pytest.mark.api

Build = Callable[..., Object]
ZEROS = "sha256:" + "0" * 64
IMAGE = "oci://registry.example/telco"
CPU = {"targetCPUUtilizationPercentage": 70}

TOKENS = {"issuer": "https://issuer.example/", "audience": "churn", "jwksConfigMap": "issuer-keys"}
REFUSED: dict[str, tuple[Object, str]] = {
    "a uri of another scheme": (
        {"model": {"uri": "ftp://host/telco", "digest": ZEROS}},
        'spec.model.uri: Invalid value: "ftp://host/telco": uri must be oci://IMAGE, s3://BUCKET/PREFIX',
    ),
    "a uri that leaves its prefix": (
        {"model": {"uri": "s3://bucket/a/../b", "digest": ZEROS}},
        "uri must be",
    ),
    "a uri with a password": ({"model": {"uri": "https://me:pw@host/a", "digest": ZEROS}}, "uri must be"),
    "a digest that is none": (
        {"model": {"uri": IMAGE, "digest": "sha256:abc"}},
        'spec.model.digest: Invalid value: "sha256:abc": digest must be sha256: and 64 lower-case hex digits',
    ),
    "no digest for a tag": (
        {"model": {"uri": f"{IMAGE}:1"}},
        "spec.model: Invalid value: set digest to the sha256 of the bundle's SHA256SUMS",
    ),
    "no digest for s3": ({"model": {"uri": "s3://bucket/telco"}}, "set digest to the sha256"),
    "credentials for a claim": (
        {"model": {"uri": "pvc://claim", "digest": ZEROS, "credentialsSecret": "x"}},
        "credentialsSecret has no meaning for pvc",
    ),
    "a threshold of 0": ({"decision": {"threshold": 0}}, "threshold must lie between 0 and 1, both excluded"),
    "a threshold of 1": ({"decision": {"threshold": 1}}, "threshold must lie between 0 and 1, both excluded"),
    "a capacity of everybody": ({"decision": {"capacity": 1}}, "capacity must lie between 0 and 1"),
    "no way to decide": ({"decision": {}}, "set exactly one of threshold, capacity and costs"),
    "two ways to decide": (
        {"decision": {"threshold": 0.4, "costs": {"contact": 1, "value": 9}}},
        "set exactly one of threshold, capacity and costs",
    ),
    "a contact for nothing": (
        {"decision": {"costs": {"contact": 0, "value": 9}}},
        "contact must be above 0",
    ),
    "a contact that nobody is worth": (
        {"decision": {"costs": {"contact": 50, "value": 100, "success": 0.5}}},
        "spec.decision.costs: Invalid value: contact must be below success x value",
    ),
    "a success of more than all": (
        {"decision": {"costs": {"contact": 1, "value": 9, "success": 1.5}}},
        "success must be above 0 and at most 1",
    ),
    "negative replicas": ({"replicas": -1}, "spec.replicas in body should be greater than or equal to 0"),
    "min above max": (
        {"autoscaling": {"minReplicas": 5, "maxReplicas": 3, **CPU}},
        "spec.autoscaling: Invalid value: minReplicas (2 if unset) is above maxReplicas",
    ),
    "the default min above max": ({"autoscaling": {"maxReplicas": 1, **CPU}}, "is above maxReplicas"),
    "neither target nor metrics": (
        {"autoscaling": {"maxReplicas": 3}},
        "set exactly one of targetCPUUtilizationPercentage and metrics",
    ),
    "a metric without its field": (
        {"autoscaling": {"maxReplicas": 3, "metrics": [{"type": "Pods"}]}},
        "set the field that type names",
    ),
    "a request above its limit": (
        {"serving": {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}}},
        "spec.serving.resources: Invalid value: a request is above its limit",
    ),
    "a quantity that is none": (
        {"serving": {"resources": {"limits": {"memory": "1e3Gi"}}}},
        "spec.serving.resources.limits.memory in body should match",
    ),
    "a resource of no name": (
        {"serving": {"resources": {"limits": {"a b": 1}}}},
        "name resources as Kubernetes does",
    ),
    "a reserved pod label": (
        {"serving": {"podLabels": {"churnops.io/model": "x"}}},
        "podLabels must not set",
    ),
    "a selecting pod label": (
        {"serving": {"podLabels": {"pod-template-hash": "x"}}},
        "podLabels must not set",
    ),
    "a pod label of no form": ({"serving": {"podLabels": {"a b": "x"}}}, "podLabels keys must be label keys"),
    "a pod label's value": (
        {"serving": {"podLabels": {"a": "b c"}}},
        "spec.serving.podLabels.a in body should match",
    ),
    "keys and tokens": (
        {"serving": {"auth": {"apiKeysSecret": "a", "jwt": TOKENS}}},
        "set exactly one of apiKeysSecret and jwt",
    ),
    "no way to know who asks": ({"serving": {"auth": {}}}, "set exactly one of apiKeysSecret and jwt"),
    "tokens without keys": (
        {"serving": {"auth": {"jwt": {"issuer": "a", "audience": "b"}}}},
        "set exactly one of jwksSecret and jwksConfigMap",
    ),
    "an issuer with a variable": (
        {"serving": {"auth": {"jwt": TOKENS | {"issuer": "$(HOME)"}}}},
        "spec.serving.auth.jwt.issuer in body should match",
    ),
    "a certificate of no name": (
        {"serving": {"tls": {}}},
        "ValidationError(ChurnModel.spec.serving.tls): missing required",
    ),
    "a host with its port": (
        {"serving": {"allowedHosts": ["churn.example:443"]}},
        "spec.serving.allowedHosts[0] in body should match",
    ),
    "hosts that are none": (
        {"serving": {"allowedHosts": []}},
        "spec.serving.allowedHosts in body should have at least 1 items",
    ),
    "an origin with a path": (
        {"serving": {"corsOrigins": ["https://crm.example/app"]}},
        "spec.serving.corsOrigins[0] in body should match",
    ),
    "a node label of no form": (
        {"serving": {"nodeSelector": {"a b": "x"}}},
        "nodeSelector keys must be label keys",
    ),
    "a node label's value": (
        {"serving": {"nodeSelector": {"a": "-"}}},
        "spec.serving.nodeSelector.a in body should match",
    ),
    "a toleration of everything by mistake": (
        {"serving": {"tolerations": [{"effect": "NoSchedule"}]}},
        "a toleration without key tolerates every taint",
    ),
    "a toleration that exists with a value": (
        {"serving": {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}},
        "operator Exists takes no value",
    ),
    "toleration seconds without NoExecute": (
        {"serving": {"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 5}]}},
        "tolerationSeconds needs effect NoExecute",
    ),
    "the same pull secret twice": (
        {"serving": {"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}},
        'duplicate entries for key [name="a"]',
    ),
    "an unknown field": ({"replica": 2}, 'unknown field "replica"'),
    "an unknown field deep down": (
        {"autoscaling": {"maxReplicas": 3, **CPU, "behavior": {"scaleUp": {"policy": []}}}},
        'unknown field "policy"',
    ),
}

ACCEPTED: dict[str, Object] = {
    "an image by digest without more": {"model": {"uri": f"{IMAGE}@{ZEROS}"}},
    "a store with a port": {"model": {"uri": "https://models.example:8443/telco/1", "digest": ZEROS}},
    "a claim with a path": {"model": {"uri": "pvc://models/telco/v1.2", "digest": ZEROS}},
    "a bucket with a prefix": {
        "model": {"uri": "s3://models/telco/1", "digest": ZEROS, "credentialsSecret": "store"}
    },
    "the most that can be approached": {"decision": {"capacity": 0.1}},
    "whoever is worth it, in whole numbers": {"decision": {"costs": {"contact": 5, "value": 300}}},
    "metrics and behavior": {
        "autoscaling": {
            "maxReplicas": 4,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "rps"},
                        "target": {"type": "AverageValue", "averageValue": "100"},
                    },
                }
            ],
            "behavior": {
                "scaleDown": {
                    "stabilizationWindowSeconds": 0,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}],
                }
            },
        }
    },
    "everything of serving": {
        "serving": {
            "image": "registry.example/churn-serving:2",
            "imagePullPolicy": "Always",
            "resources": {
                "requests": {"cpu": "250m", "memory": "128Mi"},
                "limits": {"memory": "1Gi", "vendor.example/gpu": 1},
            },
            "serviceAccountName": "models",
            "imagePullSecrets": [{"name": "registry"}],
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "models", "operator": "Equal", "value": "only", "effect": "NoSchedule"}],
            "priorityClassName": "high",
            "podLabels": {"cost.example/center": "4711"},
            "auth": {"apiKeysSecret": "keys"},
            "tls": {"secretName": "certificate"},
            "grpc": True,
            "allowedHosts": ["churn.example", "*.churn.example", "[::1]"],
            "corsOrigins": ["https://crm.example", "http://localhost:3000"],
        }
    },
    "tokens": {"serving": {"auth": {"jwt": TOKENS | {"scope": "predict"}}, "grpc": True}},
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_words_that_help(namespace: Kubectl, model: Build, case: str) -> None:
    spec, words = REFUSED[case]
    with pytest.raises(KubectlError) as refusal:
        namespace.apply(model(**spec))
    assert words in str(refusal.value)


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(namespace: Kubectl, model: Build, case: str) -> None:
    wanted = model(**ACCEPTED[case])
    namespace.run("create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=json.dumps(wanted))


@pytest.mark.parametrize("name", ["x", "1telco", "telco-", "telco.eu", "a" * 47])
def test_a_name_that_cannot_be_a_services_is_refused(namespace: Kubectl, model: Build, name: str) -> None:
    wanted = model()
    wanted["metadata"]["name"] = name
    with pytest.raises(KubectlError, match=r"metadata\.name.*(name a ChurnModel with 2 to 46|RFC 1123)"):
        namespace.apply(wanted)


def test_replicas_are_filled_in_so_that_kubectl_scale_works(namespace: Kubectl, model: Build) -> None:
    wanted = model()
    del wanted["spec"]["replicas"]
    namespace.apply(wanted)
    assert (namespace.get("churnmodel", "telco") or {})["spec"]["replicas"] == 2
    namespace.run("scale", "churn/telco", "--replicas=3")
    assert (namespace.get("churnmodel", "telco") or {})["spec"]["replicas"] == 3


def test_the_server_itself_refuses_an_unknown_field(namespace: Kubectl, model: Build) -> None:
    path = f"/apis/churnops.io/v1alpha1/namespaces/{namespace.namespace}/churnmodels?fieldValidation=Strict"
    with pytest.raises(KubectlError, match=r'strict decoding error: unknown field "spec\.replica"'):
        namespace.run("create", f"--raw={path}", "--filename=-", stdin=json.dumps(model(replica=2)))


def test_explain_describes_every_field(cluster: object, namespace: Kubectl) -> None:
    text = namespace.run("explain", "churn.spec", "--recursive=false")
    assert "<no description>" not in text
    assert "autoscaling" in text


def test_the_category_lists_churnmodels(namespace: Kubectl, model: Build) -> None:
    namespace.apply(model())
    assert "telco" in namespace.run("get", "churnops")
