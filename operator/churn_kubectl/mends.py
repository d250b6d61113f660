"""What to do about each reason that a ChurnModel gives for not being Ready."""

from churn_operator.api.conditions import Reason

PUBLISH = "publish the bundle again, or put the earlier spec.model back"
MENDS: dict[str, str] = {
    Reason.ROLLED_BACK: (
        "mend what failed and apply it; `kubectl churn rollback` makes the spec what runs now; "
        "spec.rollback: manual tries the same again"
    ),
    Reason.REPLICAS_UNAVAILABLE: "look at the replicas below and at the nodes they were on",
    Reason.PAUSED: "remove the annotation churnops.io/paused",
    Reason.INVALID_SPEC: "mend the field that the message names",
    Reason.NAME_CONFLICT: "delete or rename the object that the message names, or rename the ChurnModel",
    Reason.WAITING_FOR_REMOVAL: "wait; if it lasts, an object of the earlier ChurnModel has a finalizer",
    Reason.SERVICE_ACCOUNT_NOT_ALLOWED: 'its owner allows it by the label churnops.io/serving: "true"',
    Reason.IMAGE_NOT_ALLOWED: "set spec.serving.image to one that the platform allows, or leave it out",
    Reason.APPLY_REFUSED: "ask whoever runs the cluster: a right, a quota or an admission rule is in the way",
    Reason.PODS_REFUSED: "raise the quota, or ask for less in spec.serving.resources",
    Reason.PROGRESS_DEADLINE_EXCEEDED: "look at the replicas' logs: they started and never got ready",
    Reason.IMAGE_PULL_FAILED: "check the image's name and the pull secret, and that nodes reach the registry",
    Reason.CONTAINER_CONFIG_FAILED: "create the Secret or the key that the message names",
    Reason.CONTAINER_FAILED: "read `kubectl logs POD --previous --all-containers`",
    Reason.OUT_OF_MEMORY: "raise spec.serving.resources.limits.memory, or serve a smaller model",
    Reason.UNSCHEDULABLE: "ask for less, add nodes, or mend nodeSelector, tolerations or the claim",
    Reason.DIGEST_MISMATCH: "set spec.model.digest to `sha256sum SHA256SUMS` of the bundle that is meant",
    Reason.FILE_MISMATCH: PUBLISH,
    Reason.BUNDLE_INCOMPLETE: PUBLISH,
    Reason.BUNDLE_TOO_LARGE: PUBLISH,
    Reason.SCHEMA_INVALID: PUBLISH,
    Reason.ONNX_INVALID: PUBLISH,
    Reason.GOLDEN_MISMATCH: "train and export the bundle again: it does not give what training gave",
    Reason.TOO_SLOW: "serve a smaller model, give it more CPU, or raise spec.model.maxScoringMillis",
    Reason.REVISION_NOT_CONFIGURED: "wait a minute; if it lasts, look at the operator's log",
    Reason.CONFIG_INVALID: (
        "make the Secret or ConfigMap that is missed, or use a serving image of the operator's version"
    ),
    Reason.FETCH_FAILED: "check spec.model.uri, its credentialsSecret and that pods reach the store",
}
