"""The pod template: one server container, and for remote bundles an init container that fetches."""

from typing import Any

from churn_operator.api.serving import ResourceRequirements
from churn_operator.api.source import Source
from churn_operator.decide import Plan
from churn_operator.desired.access import Access, build_access
from churn_operator.desired.config_map import build_entry
from churn_operator.digests import digest_of
from churn_operator.names import (
    CONFIG_DIGEST_ANNOTATION,
    CONFIG_DIR,
    CONFIG_FILE,
    DEADLINE_ENV,
    DRAIN_ENV,
    FETCH_CONTAINER,
    FETCH_TOKEN_ENV,
    FETCH_TOKEN_KEY,
    GRPC_PORT,
    GRPC_PORT_ENV,
    HTTP_PORT,
    KILL_MARGIN_SECONDS,
    LIVEZ,
    METRICS_PORT,
    MODELS_DIR,
    READYZ,
    REVISION_LABEL,
    SERVER_CONTAINER,
    SERVER_DEADLINE_SECONDS,
    SERVER_DRAIN_SECONDS,
    USER_ID,
    labels,
    selector,
)
from churn_operator.observe import Observed
from churn_operator.settings import Settings

_OTHERWISE_USED = (
    "image", "image_pull_policy", "resources", "image_pull_secrets", "pod_labels", "auth", "tls", "grpc",
    "allowed_hosts", "cors_origins",
)  # fmt: skip
"""Fields of `serving` that are not the pod's own."""
READ_ONLY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
"""What Pod Security `restricted` asks of a container, and no writing outside /tmp."""


def build_pod_template(plan: Plan, observed: Observed, settings: Settings) -> dict[str, Any]:
    """The template. Whatever differs here rolls the pods: nothing in it may depend on the moment."""
    serving, source = plan.revision.serving, plan.revision.model.source
    access = build_access(serving)
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service called churn-* would put variables into our environment
        "terminationGracePeriodSeconds": settings.grace_period_seconds,
        "securityContext": _pod_security(),
        "topologySpreadConstraints": [_spread(observed.name, key) for key in _SPREAD_KEYS],
        "volumes": [
            {"name": "config", "configMap": {"name": observed.name}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "model", **_model_volume(source, settings)},
            *access.volumes,
        ],
        "containers": [_server(plan, observed.name, settings, access)],
    }
    if source.fetched:
        spec["initContainers"] = [_fetch(plan, settings)]
    spec |= serving.model_copy(update=dict.fromkeys(_OTHERWISE_USED)).wire()
    if secrets := _pull_secrets(plan):
        spec["imagePullSecrets"] = [{"name": name} for name in secrets]
    revision = plan.revision.hash
    return {
        "metadata": {
            "labels": (serving.pod_labels or {}) | labels(observed.name) | {REVISION_LABEL: revision},
            "annotations": {CONFIG_DIGEST_ANNOTATION: _digest_at_birth(plan, observed)},
        },
        "spec": spec,
    }


def _digest_at_birth(plan: Plan, observed: Observed) -> str:
    """What the revision's first pods read. Later digests go onto the pods: here they would roll them."""
    template = ((observed.deployment or {}).get("spec") or {}).get("template", {}).get("metadata", {})
    if template.get("labels", {}).get(REVISION_LABEL) == plan.revision.hash:
        present = template.get("annotations", {}).get(CONFIG_DIGEST_ANNOTATION)
        if present:
            return str(present)
    record = observed.record_of(plan.revision.hash) or {}
    # A revision that comes back must be the same template to the letter, or its own pods are replaced.
    return digest_of((record.get("data") or {}).get("entry") or build_entry(plan))


def _pod_security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


_SPREAD_KEYS = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")


def _spread(name: str, key: str) -> dict[str, Any]:
    """Replicas apart where there is room; never a reason not to run."""
    return {
        "topologyKey": key,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(name)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def _model_volume(source: Source, settings: Settings) -> dict[str, Any]:
    if source.scheme == "oci":
        return {"image": {"reference": source.location, "pullPolicy": "IfNotPresent"}}
    if source.scheme == "pvc":
        return {"persistentVolumeClaim": {"claimName": source.claim, "readOnly": True}}
    return {"emptyDir": {"sizeLimit": str(settings.max_bundle_bytes)}}


def _model_mount(plan: Plan) -> dict[str, Any]:
    source = plan.revision.model.source
    mount: dict[str, Any] = {"name": "model", "mountPath": f"{MODELS_DIR}/{plan.revision.hash}"}
    if source.scheme == "pvc" and source.claim_path:
        mount["subPath"] = source.claim_path
    return mount


def _container(plan: Plan, name: str) -> dict[str, Any]:
    serving = plan.revision.serving
    return {
        "name": name,
        "image": plan.revision.image,
        "imagePullPolicy": serving.image_pull_policy or "IfNotPresent",
        "resources": (serving.resources or ResourceRequirements()).wire(),
        "securityContext": READ_ONLY,
    }


def _server(plan: Plan, name: str, settings: Settings, access: Access) -> dict[str, Any]:
    config = f"{CONFIG_DIR}/{CONFIG_FILE}"
    container = _container(plan, SERVER_CONTAINER)
    if env := [*access.env, *_grpc(plan), *_hurry(settings)]:
        container["env"] = env
    return container | {
        "args": ["serve", "--config", config, "--models-dir", MODELS_DIR, "--name", name],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
            *([{"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"}] if plan.grpc else ()),
        ],
        # Loaded and checked: two minutes for the largest bundle on the slowest node.
        "startupProbe": _probe(READYZ, periodSeconds=1, failureThreshold=120),
        # Takes requests: not while draining, and back quickly.
        "readinessProbe": _probe(READYZ, periodSeconds=2, failureThreshold=2),
        # The process answers at all: slow to judge, because a restart costs every request in flight.
        "livenessProbe": _probe(LIVEZ, periodSeconds=10, failureThreshold=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": settings.pre_stop_seconds}}},
        "volumeMounts": [
            {
                "name": "config",
                "mountPath": CONFIG_DIR,
                "readOnly": True,
            },  # no subPath: it would never refresh
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # a path inside the container
            _model_mount(plan) | {"readOnly": True},
            *access.mounts,
        ],
    }


def _grpc(plan: Plan) -> list[dict[str, str]]:
    return [{"name": GRPC_PORT_ENV, "value": str(GRPC_PORT)}] if plan.grpc else []


def _hurry(settings: Settings) -> list[dict[str, str]]:
    """Variables for a server that has less time to leave than it reckons with: killed, it loses requests."""
    left = settings.grace_period_seconds - settings.pre_stop_seconds - KILL_MARGIN_SECONDS
    if left >= SERVER_DEADLINE_SECONDS:
        return []  # nothing in the template: what differs there rolls the pods
    seconds = {DEADLINE_ENV: left, DRAIN_ENV: SERVER_DRAIN_SECONDS}
    return [{"name": name, "value": str(value)} for name, value in seconds.items()]


def _probe(path: str, **timing: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "metrics", "scheme": "HTTP"}, "timeoutSeconds": 2} | timing


def _fetch(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Copies the bundle. Only this container sees the store's credentials."""
    model = plan.revision.model
    mount = _model_mount(plan)
    limit = str(settings.max_bundle_bytes)
    args = [
        "fetch",
        model.uri,
        "--digest",
        plan.revision.digest,
        "--out",
        mount["mountPath"],
        "--max-bytes",
        limit,
    ]
    container = _container(plan, FETCH_CONTAINER) | {
        "args": args,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, mount],  # noqa: S108
    }
    if model.credentials_secret and model.source.scheme == "s3":
        container["envFrom"] = [{"secretRef": {"name": model.credentials_secret}}]
    elif model.credentials_secret:
        reference = {"name": model.credentials_secret, "key": FETCH_TOKEN_KEY}
        container["env"] = [{"name": FETCH_TOKEN_ENV, "valueFrom": {"secretKeyRef": reference}}]
    return container


def _pull_secrets(plan: Plan) -> list[str]:
    """Secrets to pull with: the author's, and the model's own for an oci bundle."""
    names = [secret.name for secret in plan.revision.serving.image_pull_secrets or ()]
    model = plan.revision.model
    if model.source.scheme == "oci" and model.credentials_secret:
        names.append(model.credentials_secret)
    return list(dict.fromkeys(names))
