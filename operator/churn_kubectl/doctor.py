"""What the cluster, the rights and the ChurnModels need, looked at one by one; each want with its mend."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from churn_kubectl.cluster import Cluster
from churn_kubectl.errors import ClusterError, ForbiddenError, KindUnknownError
from churn_operator.api.v1alpha1 import GROUP, PLURAL
from churn_operator.compare import covers
from churn_operator.crdgen import build_crd
from churn_operator.names import PAUSED_ANNOTATION, SERVING_LABEL

LEAST_MINOR = 35
"""Kubernetes 1.35 is the first with image volumes on: oci models are mounted as such."""
INSTALL = "`kubectl apply --server-side -f crds/` of the operator's release, or upgrade the chart"
OPERATOR = "app.kubernetes.io/name=churn-operator"
RIGHTS = (
    ("create", f"{PLURAL}.{GROUP}", "deploy a model"),
    ("patch", f"{PLURAL}.{GROUP}", "change or roll back a model"),
    ("list", "controllerrevisions.apps", "see the history"),
    ("list", "pods", "see the replicas"),
    ("create", "pods/portforward", "kubectl churn predict"),
)


class Level(StrEnum):
    """How bad it is."""

    GOOD = "good"
    UNKNOWN = "unknown"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    level: Level
    what: str
    mend: str = ""


def examine(cluster: Cluster) -> Iterator[Finding]:
    """Everything, in the order in which it is to be mended."""
    for check in CHECKS:
        try:
            yield from check(cluster)
        except ForbiddenError as error:
            yield Finding(Level.UNKNOWN, _first_line(error), "ask whoever runs the cluster to run this")
        except KindUnknownError as error:
            yield Finding(Level.BAD, _first_line(error), INSTALL)
        except ClusterError as error:
            yield Finding(Level.BAD, _first_line(error), "mend the connection: `kubectl cluster-info`")
            return


def _versions(cluster: Cluster) -> Iterator[Finding]:
    """The API server's version, and the nodes'."""
    version = cluster.raw("/version")
    yield _version("the API server", version["gitVersion"])
    for node in cluster.find("nodes"):
        name, info = node["metadata"]["name"], node["status"]["nodeInfo"]
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
        if not ready:
            yield Finding(Level.WARNING, f"node {name} is not Ready", f"`kubectl describe node {name}`")
        yield _version(f"node {name}", info["kubeletVersion"])


def _version(what: str, version: str) -> Finding:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) >= (1, LEAST_MINOR):
        return Finding(Level.GOOD, f"{what} runs {version}")
    return Finding(
        Level.BAD,
        f"{what} runs {version}: models from oci:// need 1.{LEAST_MINOR}",
        "upgrade it, or serve from pvc://, s3:// or https:// meanwhile",
    )


def _crd(cluster: Cluster) -> Iterator[Finding]:
    """The CRD: there, and that of this program."""
    wanted = build_crd()
    name = wanted["metadata"]["name"]
    there = cluster.get("customresourcedefinition", name)
    if there is None:
        yield Finding(Level.BAD, f"the CRD {name} is not installed", INSTALL)
        return
    same = covers(_schema(there), _schema(wanted)) and covers(_schema(wanted), _schema(there))
    if same:
        yield Finding(Level.GOOD, f"the CRD {name} is the one that this program knows")
    else:
        yield Finding(
            Level.WARNING, f"the CRD {name} is of another version than this program", f"update one: {INSTALL}"
        )


def _schema(crd: dict[str, Any]) -> Any:
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def _operator(cluster: Cluster) -> Iterator[Finding]:
    """An operator that runs: somewhere, else in this namespace."""
    try:
        found = cluster.find("deployments", f"--selector={OPERATOR}", "--all-namespaces")
    except ForbiddenError:
        found = cluster.find("deployments", f"--selector={OPERATOR}")
    if not found:
        yield Finding(
            Level.BAD, "no operator is installed", "`helm install churn-operator …`, as the README says"
        )
    for deployment in found:
        name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        if (deployment.get("status") or {}).get("availableReplicas"):
            yield Finding(Level.GOOD, f"the operator {namespace}/{name} runs {image}")
        else:
            mend = f"`kubectl logs -n {namespace} deployment/{name}`"
            yield Finding(Level.BAD, f"the operator {namespace}/{name} is not available", mend)


def _rights(cluster: Cluster) -> Iterator[Finding]:
    """Whether whoever asks may do what the commands do."""
    for verb, resource, use in RIGHTS:
        if cluster.may(verb, resource):
            yield Finding(Level.GOOD, f"you may {verb} {resource}")
        else:
            yield Finding(
                Level.WARNING,
                f"you may not {verb} {resource} in {cluster.namespace}: needed to {use}",
                "ask for the role edit in this namespace (the chart's aggregateRoles adds ChurnModels to it)",
            )


def _models(cluster: Cluster) -> Iterator[Finding]:
    """What authors overlook."""
    models = cluster.find(PLURAL)
    if any("autoscaling" in model["spec"] for model in models):
        yield from _metrics(cluster)
    for model in models:
        found = [finding for look in OVERLOOKED for finding in look(cluster, model)]
        yield from found or [
            Finding(Level.GOOD, f"{model['metadata']['name']} names nothing that is missing")
        ]


def _metrics(cluster: Cluster) -> Iterator[Finding]:
    try:
        cluster.raw("/apis/metrics.k8s.io/v1beta1")
    except ClusterError:
        yield Finding(
            Level.BAD,
            "no metrics API: an autoscaler cannot see the CPU",
            "install metrics-server, or scale by metrics that the cluster has",
        )
    else:
        yield Finding(Level.GOOD, "the metrics API answers, for autoscalers")


def _paused(_: Cluster, model: dict[str, Any]) -> Iterator[Finding]:
    name = model["metadata"]["name"]
    if model["metadata"].get("annotations", {}).get(PAUSED_ANNOTATION) == "true":
        mend = f"`kubectl annotate churn {name} {PAUSED_ANNOTATION}-`"
        yield Finding(Level.WARNING, f"{name} is paused: no change of it is carried out", mend)


def _references(cluster: Cluster, model: dict[str, Any]) -> Iterator[Finding]:
    """What the spec names and is not there."""
    name = model["metadata"]["name"]
    for kind, words, target in _named(model["spec"]):
        try:
            missing = not cluster.run("get", kind, target, "--ignore-not-found", "--output=name").strip()
        except ForbiddenError:
            continue  # a Secret that one may not read may well be there
        if missing:
            what = f"{name} names {words} {target}, which does not exist"
            yield Finding(Level.BAD, what, f"create the {kind} {target}")


def _named(spec: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Kind, words for it and name of each object that pods of this spec need."""
    model, serving = spec["model"], spec.get("serving") or {}
    auth = serving.get("auth") or {}
    jwt, tls = auth.get("jwt") or {}, serving.get("tls") or {}
    for secret in serving.get("imagePullSecrets", ()):
        yield "secret", "imagePullSecrets", secret["name"]
    if model["uri"].startswith("pvc://"):
        yield "persistentvolumeclaim", "the claim", model["uri"].removeprefix("pvc://").partition("/")[0]
    for kind, words, name in (
        ("secret", "credentialsSecret", model.get("credentialsSecret")),
        ("secret", "auth.apiKeysSecret", auth.get("apiKeysSecret")),
        ("secret", "auth.jwt.jwksSecret", jwt.get("jwksSecret")),
        ("configmap", "auth.jwt.jwksConfigMap", jwt.get("jwksConfigMap")),
        ("secret", "tls.secretName", tls.get("secretName")),
        ("priorityclass", "priorityClassName", serving.get("priorityClassName")),
    ):
        if name:
            yield kind, words, name


def _account(cluster: Cluster, model: dict[str, Any]) -> Iterator[Finding]:
    account = (model["spec"].get("serving") or {}).get("serviceAccountName")
    if account is None:
        return
    found = cluster.get("serviceaccount", account)
    if found is None or found["metadata"].get("labels", {}).get(SERVING_LABEL) != "true":
        yield Finding(
            Level.BAD,
            f"{model['metadata']['name']} names the ServiceAccount {account}, which is not lent to it",
            f"its owner: `kubectl label serviceaccount {account} {SERVING_LABEL}=true`",
        )


def _lonely(_: Cluster, model: dict[str, Any]) -> Iterator[Finding]:
    """A single replica, where somebody may count on more."""
    spec = model["spec"]
    least = spec["autoscaling"].get("minReplicas", 2) if "autoscaling" in spec else spec.get("replicas", 2)
    if least == 1 and not spec.get("suspend"):
        yield Finding(
            Level.WARNING,
            f"{model['metadata']['name']} runs one replica: it is away while its node is drained",
            "set replicas (or autoscaling.minReplicas) to 2",
        )


def _first_line(error: ClusterError) -> str:
    return str(error).partition("\n")[0]


Check = Callable[[Cluster], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (_versions, _crd, _operator, _rights, _models)
Look = Callable[[Cluster, dict[str, Any]], Iterator[Finding]]
OVERLOOKED: tuple[Look, ...] = (_paused, _references, _account, _lonely)
