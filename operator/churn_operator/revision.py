"""A revision: what decides which bytes answer, and how. Everything in it rolls the pods when it changes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from churn_operator.api.serving import Serving
from churn_operator.api.v1alpha1 import Model, Spec
from churn_operator.digests import digest_of
from churn_operator.names import REVISION_LABEL
from churn_operator.settings import Settings

HASH_LENGTH = 10


@dataclass(frozen=True)
class Revision:
    """An accepted (model, image, serving), with the platform's defaults filled in."""

    model: Model
    image: str
    serving: Serving

    @cached_property
    def hash(self) -> str:
        """Names the revision on pods, metrics and answers."""
        return digest_of(self.wire(), HASH_LENGTH)

    @property
    def digest(self) -> str:
        """Digest of the bundle; for an oci image by digest without one, that of the image."""
        return self.model.digest or self.model.source.image_digest or ""

    def wire(self) -> dict[str, Any]:
        """As it is kept in a ControllerRevision."""
        return {"model": self.model.wire(), "image": self.image, "serving": self.serving.wire()}


def read_revision(record: dict[str, Any]) -> Revision | None:
    """The revision that a ControllerRevision keeps; None where it is not the one that its label names."""
    data = record.get("data") or {}
    try:
        revision = Revision(
            model=Model.model_validate(data.get("model")),
            image=str(data["image"]),
            serving=Serving.model_validate(data.get("serving")),
        )
    except (ValidationError, KeyError):
        return None
    return revision if revision.hash == record["metadata"].get("labels", {}).get(REVISION_LABEL) else None


def revision_of(spec: Spec, settings: Settings) -> Revision:
    """The revision that `spec` asks for."""
    return Revision(
        model=spec.model,
        image=spec.serving.image or settings.serving_image,
        serving=spec.serving.model_copy(
            update={"image": None, "resources": spec.serving.resources or settings.serving_resources}
        ),
    )
