"""What was seen of one ChurnModel: trimmed objects, frozen for one pass. Pure; the reflectors fill it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from churn_operator.api.conditions import CONTAINER_REASONS, Reason
from churn_operator.kinds import DEPLOYMENT, Kind
from churn_operator.names import (
    CONFIG_DIGEST_ANNOTATION,
    FIELD_MANAGER,
    MODEL_LABEL,
    REVISION_LABEL,
    controller_uid,
)

MESSAGE_LIMIT = 1024
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
READ_STATUS = frozenset(
    {"availableReplicas", "conditions", "observedGeneration", "replicas", "updatedReplicas"}
)
"""What is read of a child's status: an autoscaler's measurements every 15 s are neither kept nor news."""
WAITING_REASONS = {
    "ErrImagePull": Reason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": Reason.IMAGE_PULL_FAILED,
    "InvalidImageName": Reason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": Reason.IMAGE_PULL_FAILED,
    "CreateContainerConfigError": Reason.CONTAINER_CONFIG_FAILED,
    "CreateContainerError": Reason.CONTAINER_CONFIG_FAILED,
    "RunContainerError": Reason.CONTAINER_CONFIG_FAILED,
}
SEVERITY = (
    *sorted(CONTAINER_REASONS),
    *dict.fromkeys(WAITING_REASONS.values()),
    Reason.OUT_OF_MEMORY,
    Reason.CONTAINER_FAILED,
    Reason.UNSCHEDULABLE,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a pod does not serve."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Pod:
    """What the operator wants to know of a pod. `created` is RFC 3339, as the API server wrote it."""

    name: str
    uid: str
    revision: str
    created: str
    config_digest: str | None
    ready: bool
    deleting: bool
    failure: Failure | None


@dataclass(frozen=True)
class Observed:
    """One ChurnModel and what belongs to it, as the caches have it.

    `children` holds, by kind, the object of the ChurnModel's own name, whoever owns it; `owned` all objects
    that this ChurnModel controls. `service_account` is the account that the spec names, if it exists.
    """

    model: dict[str, Any]
    children: Mapping[Kind, dict[str, Any]]
    owned: tuple[tuple[Kind, dict[str, Any]], ...]
    revisions: tuple[dict[str, Any], ...]
    pods: tuple[Pod, ...]
    service_account: dict[str, Any] | None = None

    @property
    def namespace(self) -> str:
        return str(self.model["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.model["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.model["metadata"]["uid"])

    @property
    def generation(self) -> int:
        return int(self.model["metadata"]["generation"])

    @property
    def deployment(self) -> dict[str, Any] | None:
        """The Deployment, if it is ours."""
        found = self.children.get(DEPLOYMENT)
        return found if found and controller_uid(found) == self.uid else None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The ControllerRevisions, the newest first."""
        return sorted(self.revisions, key=lambda record: int(record.get("revision", 0)), reverse=True)

    def record_of(self, revision: str) -> dict[str, Any] | None:
        """The ControllerRevision that keeps a revision."""
        labelled = (
            r for r in self.revisions if r["metadata"].get("labels", {}).get(REVISION_LABEL) == revision
        )
        return next(labelled, None)

    @property
    def live_revisions(self) -> frozenset[str]:
        """Revisions that pods use, stopping ones included: they still read their settings."""
        return frozenset(pod.revision for pod in self.pods)


def is_going(model: dict[str, Any]) -> bool:
    """Whether a ChurnModel is being deleted: the garbage collector removes its children."""
    return "deletionTimestamp" in model["metadata"]


def trim(obj: dict[str, Any]) -> dict[str, Any]:
    """A child without what nobody reads. managedFields become: when we wrote, whether we own replicas."""
    metadata = dict(obj["metadata"])
    managed = [
        {
            "time": entry.get("time"),
            "replicas": "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}),
        }
        for entry in metadata.pop("managedFields", ())
        if entry.get("manager") == FIELD_MANAGER and not entry.get("subresource")
    ]
    trimmed = {**obj, "metadata": metadata, "managed": managed}
    if "status" in obj:
        status = obj["status"] or {}
        trimmed["status"] = {key: value for key, value in status.items() if key in READ_STATUS}
    return trimmed


def trim_model(obj: dict[str, Any]) -> dict[str, Any]:
    """A ChurnModel without its bookkeeping."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if LAST_APPLIED in metadata.get("annotations", {}):  # the spec once more
        kept = {key: value for key, value in metadata["annotations"].items() if key != LAST_APPLIED}
        metadata["annotations"] = kept
    return {"metadata": metadata, "spec": obj.get("spec") or {}, "status": obj.get("status") or {}}


def trim_pod(obj: dict[str, Any]) -> dict[str, Any]:
    """A pod's identity and state, so that what changes in between (probe times, IPs) is no news."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    labels = metadata.get("labels") or {}
    pod = Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        revision=labels.get(REVISION_LABEL, ""),
        created=metadata["creationTimestamp"],
        config_digest=(metadata.get("annotations") or {}).get(CONFIG_DIGEST_ANNOTATION),
        ready=_condition(status, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        failure=find_failure(status),
    )
    return {
        "metadata": {
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "resourceVersion": metadata["resourceVersion"],
            "labels": {MODEL_LABEL: labels.get(MODEL_LABEL, "")},
        },
        "pod": pod,
    }


def find_failure(status: dict[str, Any]) -> Failure | None:
    """Why a pod with this status does not serve, the most telling reason first; None if nothing is wrong."""
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    failures = [failure for container in containers if (failure := _container_failure(container))]
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        failures.append(Failure(Reason.UNSCHEDULABLE, _short(scheduled.get("message"))))
    return worst(failures)


def worst(failures: list[Failure]) -> Failure | None:
    """The failure that tells most."""
    return min(failures, key=lambda failure: (_severity(failure.reason), failure.message), default=None)


def _severity(reason: str) -> int:
    return SEVERITY.index(reason) if reason in SEVERITY else len(SEVERITY)


def _container_failure(container: dict[str, Any]) -> Failure | None:
    if container.get("ready") or (container.get("state") or {}).get("terminated", {}).get("exitCode") == 0:
        return None
    ended = [
        failure
        for state in ("state", "lastState")
        if (terminated := (container.get(state) or {}).get("terminated"))
        and (failure := _termination_failure(container["name"], terminated))
    ]
    waiting = (container.get("state") or {}).get("waiting") or {}
    if reason := WAITING_REASONS.get(waiting.get("reason", "")):
        # The kubelet wraps the cause while it backs off: unwrapped, the message does not flap.
        cause = (waiting.get("message") or waiting["reason"]).rpartition("ErrImagePull: ")[2]
        ended.append(Failure(reason, _short(cause)))
    return worst(ended)


def _termination_failure(container: str, terminated: dict[str, Any]) -> Failure | None:
    """What a container that ended says of itself: {"reason", "message"} in its termination message."""
    if terminated.get("exitCode") == 0:
        return None
    try:
        said = json.loads(terminated.get("message") or "")
        if said["reason"] in CONTAINER_REASONS:
            return Failure(said["reason"], _short(str(said["message"])))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass  # not ours: a crash writes nothing, or log lines; and an author's own image writes what it likes
    if terminated.get("reason") == Reason.OUT_OF_MEMORY:
        return Failure(Reason.OUT_OF_MEMORY, f"Container {container} used more memory than its limit allows")
    return Failure(
        Reason.CONTAINER_FAILED, f"Container {container} ended with exit code {terminated.get('exitCode')}"
    )


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next((c for c in status.get("conditions", ()) if c["type"] == kind), {})
    return found


def _short(message: str | None) -> str:
    return " ".join((message or "").split())[:MESSAGE_LIMIT]
