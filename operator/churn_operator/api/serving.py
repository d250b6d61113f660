"""`spec.serving`: what an author may say about the pods. A closed list, never a pod template."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from churn_operator.api.access import Auth, Hosts, Origins, Tls
from churn_operator.api.schema import (
    LABEL_VALUE,
    QUALIFIED_NAME,
    ApiModel,
    ObjectName,
    Quantity,
    check_names,
    quantity_value,
    rules,
)


def _keys_match(message: str) -> tuple[str, str]:
    """CEL rule of a map whose keys are qualified names, with what it says where one is not."""
    return f"self.all(k, k.matches('{QUALIFIED_NAME}'))", message


LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]
Resources = Annotated[
    dict[str, Quantity],
    Field(
        max_length=8,
        json_schema_extra=rules(
            _keys_match(
                "name resources as Kubernetes does: cpu, memory, ephemeral-storage or vendor/resource"
            )
        ),
    ),
]

RESERVED_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/managed-by", "pod-template-hash")
RESERVED_PREFIX = "churnops.io/"
RESERVED_MESSAGE = (
    "podLabels must not set churnops.io/* labels, app.kubernetes.io/name, app.kubernetes.io/managed-by "
    "or pod-template-hash: the operator selects by them"
)


class ResourceRequirements(ApiModel):
    """What the serving container asks of a node, and at most gets."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                (
                    "!has(self.limits) || !has(self.requests) || self.requests.all(k, !(k in self.limits) || "
                    "!isQuantity(string(self.requests[k])) || !isQuantity(string(self.limits[k])) || "
                    "quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)"
                ),
                "a request is above its limit: raise the limit or lower the request",
            )
        )
    )

    requests: Resources | None = None
    """Resources that a node must have free, such as cpu: 250m and memory: 256Mi."""
    limits: Resources | None = None
    """Most that the container may use; more memory than this ends it."""

    @field_validator("requests", "limits")
    @classmethod
    def _names_are_resources(cls, resources: dict[str, int | str] | None) -> dict[str, int | str] | None:
        check_names(resources)
        return resources

    @model_validator(mode="after")
    def _requests_within_limits(self) -> Self:
        limits = self.limits or {}
        for name, request in (self.requests or {}).items():
            if name in limits and quantity_value(request) > quantity_value(limits[name]):
                raise ValueError(f"the {name} request {request} is above its limit {limits[name]}")
        return self


class Toleration(ApiModel):
    """A taint that the pods tolerate."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
                "a toleration without key tolerates every taint: set operator to Exists",
            ),
            (
                "!has(self.operator) || self.operator != 'Exists' || !has(self.value)",
                "operator Exists takes no value: remove value or use Equal",
            ),
            (
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerationSeconds needs effect NoExecute",
            ),
        )
    )

    key: Annotated[str, Field(min_length=1, max_length=317, pattern=QUALIFIED_NAME)] | None = None
    """Key of the taint; all keys if unset."""
    operator: Literal["Exists", "Equal"] | None = None
    """Whether the taint's value must equal `value` (the default) or may be any."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; all effects if unset."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """Seconds to stay on a node whose NoExecute taint appears; for ever if unset."""

    @model_validator(mode="after")
    def _says_what_it_tolerates(self) -> Self:
        if self.key is None and self.operator != "Exists":
            raise ValueError("a toleration without key needs operator Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator Exists takes no value")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("tolerationSeconds needs effect NoExecute")
        return self


class PullSecret(ApiModel):
    name: ObjectName
    """Name of a Secret of type kubernetes.io/dockerconfigjson in the ChurnModel's namespace."""


class Serving(ApiModel):
    """What an author may say about the pods; unset fields take the platform's defaults."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s]+$")] | None = None
    """Serving image; the platform's default if unset."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When a node pulls the image; IfNotPresent if unset."""
    resources: ResourceRequirements | None = None
    """CPU and memory of each replica; the platform's default if unset."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods. Accepted only if it carries the label churnops.io/serving: "true"."""
    image_pull_secrets: (
        Annotated[
            list[PullSecret],
            Field(
                max_length=8,
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            ),
        ]
        | None
    ) = None
    """Secrets to pull the serving image and an oci model with."""
    node_selector: (
        Annotated[
            dict[str, LabelValue],
            Field(
                max_length=16,
                json_schema_extra=rules(
                    _keys_match("nodeSelector keys must be label keys: [prefix/]name"),
                ),
            ),
        ]
        | None
    ) = None
    """Labels that a node must carry."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    """Taints of nodes that the pods tolerate."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    pod_labels: (
        Annotated[
            dict[str, LabelValue],
            Field(
                max_length=16,
                json_schema_extra=rules(
                    _keys_match("podLabels keys must be label keys: [prefix/]name"),
                    (
                        f"self.all(k, !k.startsWith('{RESERVED_PREFIX}') && !(k in {list(RESERVED_LABELS)}))",
                        RESERVED_MESSAGE,
                    ),
                ),
            ),
        ]
        | None
    ) = None
    """More labels for the pods, for cost reports and the like."""
    auth: Auth | None = None
    """Who is answered; whoever asks, if unset. Probes and port 9090 always are."""
    tls: Tls | None = None
    """Answer with TLS by this certificate; plain HTTP if unset."""
    grpc: bool | None = None
    """Speak the V2 protocol over gRPC, too: port 9000 of the Service, with TLS where tls is set."""
    allowed_hosts: Hosts | None = None
    """Names that requests over HTTP may come to, such as churn.example or *.churn.example; any, if unset."""
    cors_origins: Origins | None = None
    """Origins whose pages may read answers in a browser, such as https://crm.example; * is any. None, if
    unset."""

    @field_validator("node_selector", "pod_labels")
    @classmethod
    def _keys_are_label_keys(cls, labels: dict[str, str] | None) -> dict[str, str] | None:
        check_names(labels)
        return labels

    @field_validator("pod_labels")
    @classmethod
    def _no_reserved_label(cls, labels: dict[str, str] | None) -> dict[str, str] | None:
        if any(key.startswith(RESERVED_PREFIX) or key in RESERVED_LABELS for key in labels or ()):
            raise ValueError(RESERVED_MESSAGE)
        return labels
