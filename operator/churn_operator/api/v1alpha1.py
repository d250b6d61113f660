"""The ChurnModel, version v1alpha1: spec and status. The CRD is generated from these types."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from churn_operator.api.autoscaling import Autoscaling
from churn_operator.api.decision import Decision
from churn_operator.api.schema import ApiModel, ObjectName, rules
from churn_operator.api.serving import Serving
from churn_operator.api.source import DIGEST, FORM_MESSAGE, FORMS, PINNED_OCI, Source, parse_source
from churn_operator.errors import InvalidSpecError

GROUP = "churnops.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ChurnModel"
PLURAL = "churnmodels"

NAME_FORM = r"^[a-z][-a-z0-9]{0,44}[a-z0-9]$"
NAME_RULE = (
    f"self.metadata.name.matches('{NAME_FORM}')",
    (
        "name a ChurnModel with 2 to 46 lower-case letters, digits and '-', starting with a letter: "
        "its Service and labels are called the same"
    ),
)
DIGEST_MESSAGE = (
    "digest must be sha256: and 64 lower-case hex digits, as in `sha256sum SHA256SUMS` of the bundle"
)
NEEDS_DIGEST = (
    "set digest to the sha256 of the bundle's SHA256SUMS: only an oci uri by digest (@sha256:…) does without"
)
NO_SECRET = "credentialsSecret has no meaning for pvc: remove it"  # noqa: S105  # a message


def _uri_rule() -> str:
    forms = " || ".join(f"self.matches('{form}')" for form in FORMS.values())
    return f"({forms}) && !self.contains('..')"


class Model(ApiModel):
    """Which bundle to serve."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (f"has(self.digest) || self.uri.matches('{PINNED_OCI}')", NEEDS_DIGEST),
            (
                "!has(self.credentialsSecret) || !self.uri.startsWith('pvc://')",
                NO_SECRET,
            ),
        )
    )

    uri: Annotated[str, Field(max_length=1024, json_schema_extra=rules((_uri_rule(), FORM_MESSAGE)))]
    """Where the bundle lies: oci://IMAGE, s3://BUCKET/PREFIX, https://HOST/PREFIX or pvc://CLAIM[/PATH]."""
    digest: (
        Annotated[
            str, Field(max_length=71, json_schema_extra=rules((f"self.matches('{DIGEST}')", DIGEST_MESSAGE)))
        ]
        | None
    ) = None
    """Digest of the bundle: sha256 of its SHA256SUMS. Pods started later must load the same bytes, so it is
    required unless the uri is an oci image by digest."""
    credentials_secret: ObjectName | None = None
    """Secret with what the store asks for: for oci an image pull secret, for s3 the AWS_* names (with
    AWS_ENDPOINT_URL for other stores than AWS), for https the key token."""

    max_scoring_millis: Annotated[int, Field(ge=1, le=60_000)] | None = None
    """Most milliseconds that scoring one customer may take. A replica scores golden rows one by one before it
    gets ready, and with a longer median it does not: TooSlow. Unset, nothing is measured."""

    @field_validator("uri")
    @classmethod
    def _uri_has_a_known_form(cls, uri: str) -> str:
        parse_source(uri)
        return uri

    @field_validator("digest")
    @classmethod
    def _digest_has_its_form(cls, digest: str | None) -> str | None:
        if digest is not None and not re.fullmatch(DIGEST.strip("^$"), digest):
            raise ValueError(DIGEST_MESSAGE)
        return digest

    @model_validator(mode="after")
    def _bytes_are_pinned(self) -> Self:
        if self.digest is None and not re.fullmatch(PINNED_OCI.strip("^$"), self.uri):
            raise ValueError(NEEDS_DIGEST)
        return self

    @model_validator(mode="after")
    def _secret_has_a_use(self) -> Self:
        if self.credentials_secret is not None and self.uri.startswith("pvc://"):
            raise ValueError(NO_SECRET)
        return self

    @property
    def source(self) -> Source:
        return parse_source(self.uri)


class Spec(ApiModel):
    """What is asked for."""

    model: Model
    """Which bundle to serve."""
    decision: Decision | None = None
    """From which probability on a customer churns, in one of three ways; the bundle's own threshold if unset.
    Changes need no restart."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 2
    """Number of replicas; used only without autoscaling."""
    autoscaling: Autoscaling | None = None
    """Replicas follow the load, in place of `replicas`."""
    rollback: Literal["automatic", "manual"] = "automatic"
    """What follows where a new revision (model, image or serving) does not get ready before its deadline.
    automatic: the revision that answers takes its place until the spec asks for another. manual: the new one
    is tried on, beside the one that answers."""
    progress_deadline_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    """Seconds without progress after which a rollout counts as failed; the platform's default if unset."""
    serving: Serving = Serving()
    """What may be said about the pods; unset fields take the platform's defaults."""
    suspend: bool = False
    """True scales to 0 and removes the autoscaler; the Service and all settings stay."""


class Condition(ApiModel):
    """One aspect of the ChurnModel's state, as in every Kubernetes API."""

    type: Annotated[str, Field(max_length=316)]
    """Ready, Reconciling, Stalled, Available, ModelLoaded, AutoscalingActive or Paused."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation of the ChurnModel that this speaks of."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """Why, in one word."""
    message: Annotated[str, Field(max_length=32768)]
    """Why, for people."""


class Status(ApiModel):
    """What was seen. Output only: nothing reads it to decide what to do."""

    observed_generation: int | None = None
    """Generation of the ChurnModel that this status speaks of."""
    replicas: int | None = None
    """Pods that exist."""
    selector: str | None = None
    """Label selector of the pods, for the scale subresource."""
    url: str | None = None
    """Where to send requests inside the cluster."""
    revision: str | None = None
    """Revision that is asked for: a hash of model, image and serving."""
    served_revision: str | None = None
    """Revision that answers requests now; differs from `revision` during a rollout or after a bad one."""
    digest: str | None = None
    """Digest of the bundle that answers requests, or that is asked for while none does."""
    model: str | None = None
    """Short form of `digest`."""
    conditions: (
        Annotated[
            list[Condition],
            Field(
                json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
            ),
        ]
        | None
    ) = None
    """Conditions in the way of kstatus; wait for Ready."""


class ChurnModel(ApiModel):
    """A churn model to serve: a bundle, a threshold and how many replicas answer for it."""

    model_config = ConfigDict(json_schema_extra=rules(NAME_RULE, fieldPath=".metadata.name"))

    spec: Spec
    """What is asked for."""
    status: Status | None = None
    """What was seen."""


def parse_spec(body: dict[str, Any]) -> Spec:
    """The spec of a ChurnModel as the API server gave it.

    Raises:
        InvalidSpecError: It breaks a rule that the installed CRD let through; the message names each field.
    """
    try:
        return Spec.model_validate(body.get("spec") or {})
    except ValidationError as error:
        problems = (
            f"{'.'.join(('spec', *map(str, problem['loc'])))}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise InvalidSpecError("; ".join(problems)) from error
