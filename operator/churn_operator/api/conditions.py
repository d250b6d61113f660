"""Condition types and reasons. They are API: people write alerts on them.

kstatus: Reconciling and Stalled are there only while they are True; without them and with a current
observedGeneration the ChurnModel is settled.
"""

from enum import StrEnum


class ConditionType(StrEnum):
    """Types, with what True means and when the condition is there at all."""

    READY = "Ready"
    """The wanted revision is rolled out and enough replicas are available. Always there."""
    RECONCILING = "Reconciling"
    """On the way to what is asked for. Only there while True."""
    STALLED = "Stalled"
    """Will not get there before someone changes something. Only there while True."""
    AVAILABLE = "Available"
    """Something answers, maybe the previous revision. Always there."""
    MODEL_LOADED = "ModelLoaded"
    """A replica has loaded and checked the wanted revision's bundle. Unknown until one says so."""
    AUTOSCALING_ACTIVE = "AutoscalingActive"
    """The autoscaler can do its work. Only there with autoscaling."""
    PAUSED = "Paused"
    """The churnops.io/paused annotation stops all reconciling. Only there while True."""


class Reason(StrEnum):
    """Reasons of our own; a bundle's typed errors and an autoscaler's reasons are shown as they are."""

    READY = "Ready"
    """Ready: all that is asked for is there."""
    ROLLING_OUT = "RollingOut"
    """Ready, Reconciling: replicas of the wanted revision are starting."""
    REPLICAS_UNAVAILABLE = "ReplicasUnavailable"
    """Ready: the wanted revision lost replicas and has too few."""
    SUSPENDED = "Suspended"
    """Ready, Available: spec.suspend is true."""
    SCALED_TO_ZERO = "ScaledToZero"
    """Ready, Available: spec.replicas is 0."""
    PAUSED = "Paused"
    """Paused: the annotation is set."""
    INVALID_SPEC = "InvalidSpec"
    """Ready, Stalled: a field is wrong; the message names it."""
    NAME_CONFLICT = "NameConflict"
    """Ready, Stalled: an object of a child's name belongs to someone else."""
    WAITING_FOR_REMOVAL = "WaitingForRemoval"
    """Ready, Reconciling: children of an earlier ChurnModel of this name are still being removed."""
    SERVICE_ACCOUNT_NOT_ALLOWED = "ServiceAccountNotAllowed"
    """Ready, Stalled: the account is missing or lacks the label churnops.io/serving: "true"."""
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    """Ready, Stalled: spec.serving.image is from nowhere that the platform allows."""
    APPLY_REFUSED = "ApplyRefused"
    """Ready, Reconciling: the API server refuses a child (right, quota, admission); tried again."""
    ROLLED_BACK = "RolledBack"
    """Ready, Stalled: what the spec asks for failed and an earlier revision runs in its place, until model,
    image or serving change in the spec."""
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    """Ready, Stalled: the rollout made no progress for too long."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """Ready, Reconciling: the serving image or the model image cannot be pulled."""
    CONTAINER_CONFIG_FAILED = "ContainerConfigFailed"
    """Ready, Reconciling: a Secret or key that a container needs is missing."""
    CONTAINER_FAILED = "ContainerFailed"
    """Ready, Reconciling: a container ended without saying why."""
    OUT_OF_MEMORY = "OOMKilled"
    """Ready, Reconciling: a container used more memory than its limit."""
    UNSCHEDULABLE = "Unschedulable"
    """Ready, Reconciling: no node fits the pods, or a claim is missing."""
    PODS_REFUSED = "PodsRefused"
    """Ready, Reconciling: the pods themselves are refused (quota, Pod Security)."""
    SERVING = "Serving"
    """Available: at least one replica answers."""
    NO_REPLICA = "NoReplica"
    """Available: no replica answers."""
    LOADED = "Loaded"
    """ModelLoaded: the bundle is loaded and its golden rows reproduce."""
    LOADING = "Loading"
    """ModelLoaded Unknown: no replica has said so yet."""
    AUTOSCALER_ACTIVE = "AutoscalerActive"
    """AutoscalingActive: no trouble reported."""
    DIGEST_MISMATCH = "DigestMismatch"
    """Ready, ModelLoaded: SHA256SUMS is not the one that `spec.model.digest` pins."""
    FILE_MISMATCH = "FileMismatch"
    """Ready, ModelLoaded: a file of the bundle is not the one that SHA256SUMS lists."""
    BUNDLE_INCOMPLETE = "BundleIncomplete"
    """Ready, ModelLoaded: a file of the bundle is missing."""
    BUNDLE_TOO_LARGE = "BundleTooLarge"
    """Ready, ModelLoaded: a file of the bundle, or all together, exceed their cap."""
    SCHEMA_INVALID = "SchemaInvalid"
    """Ready, ModelLoaded: model.json or another description in the bundle is not what the format says."""
    ONNX_INVALID = "OnnxInvalid"
    """Ready, ModelLoaded: the graph does not load, or wants what a bundle may not ask for."""
    GOLDEN_MISMATCH = "GoldenMismatch"
    """Ready, ModelLoaded: the golden rows do not give the probabilities that training gave them."""
    TOO_SLOW = "TooSlow"
    """Ready, ModelLoaded: a golden row takes longer than `spec.model.maxScoringMillis`; tried again."""
    REVISION_NOT_CONFIGURED = "RevisionNotConfigured"
    """Ready, ModelLoaded: serving.json does not name the pod's revision; the container tries again."""
    CONFIG_INVALID = "ConfigInvalid"
    """Ready, ModelLoaded: a setting of the server is wrong, or a file of `spec.serving.auth` or `.tls`."""
    FETCH_FAILED = "FetchFailed"
    """Ready, ModelLoaded: the store does not give the bundle: address, rights or network."""


BUNDLE_REASONS = frozenset(
    {
        Reason.DIGEST_MISMATCH,
        Reason.FILE_MISMATCH,
        Reason.BUNDLE_INCOMPLETE,
        Reason.BUNDLE_TOO_LARGE,
        Reason.SCHEMA_INVALID,
        Reason.ONNX_INVALID,
        Reason.GOLDEN_MISMATCH,
    }
)
"""The bundle itself is bad: the same bytes fail again, so the ChurnModel is stalled at once."""

CONTAINER_REASONS = BUNDLE_REASONS | {
    Reason.TOO_SLOW,
    Reason.REVISION_NOT_CONFIGURED,
    Reason.CONFIG_INVALID,
    Reason.FETCH_FAILED,
}
"""Reasons that the serving image writes into the termination message; tests/deploy holds both sides equal."""
