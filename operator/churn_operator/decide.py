"""Pure: what is to be done about one ChurnModel. An ordered list of checks, then the plan."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from churn_operator.api.conditions import Reason
from churn_operator.api.v1alpha1 import API_VERSION, KIND, Spec, parse_spec
from churn_operator.errors import InvalidSpecError
from churn_operator.names import PAUSED_ANNOTATION, SERVING_LABEL, controller_uid
from churn_operator.observe import Observed
from churn_operator.revision import Revision, revision_of
from churn_operator.settings import Settings


@dataclass(frozen=True)
class Failed:
    """A revision that was given up, by its hash, and why."""

    revision: str
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What is asked for, valid and allowed.

    `revision` is what runs: the spec's, or another one in place of a failed one.
    """

    spec: Spec
    revision: Revision
    in_place_of: Failed | None = None

    @property
    def asked(self) -> str:
        """Hash of the revision that the spec asks for."""
        return self.in_place_of.revision if self.in_place_of else self.revision.hash

    @property
    def tls(self) -> bool:
        """Whether what runs speaks TLS."""
        return self.revision.serving.tls is not None

    @property
    def grpc(self) -> bool:
        """Whether what runs speaks gRPC beside HTTP."""
        return bool(self.revision.serving.grpc)

    @property
    def autoscaled(self) -> bool:
        """Whether an autoscaler owns the number of replicas."""
        return self.spec.autoscaling is not None and not self.spec.suspend

    @property
    def replicas(self) -> int | None:
        """Replicas to set; None where the autoscaler owns them."""
        if self.spec.suspend:
            return 0
        return None if self.autoscaled else self.spec.replicas

    @property
    def needed(self) -> int:
        """Replicas that must be available for Ready."""
        if self.autoscaled and self.spec.autoscaling:
            return self.spec.autoscaling.min_replicas
        return self.replicas or 0

    @property
    def most(self) -> int:
        """Replicas that there can ever be without another spec."""
        return self.spec.autoscaling.max_replicas if self.spec.autoscaling else self.spec.replicas


@dataclass(frozen=True)
class Halt:
    """No child is written. What runs goes on running. `plan` is there where the spec itself is valid."""

    reason: Reason
    message: str
    plan: Plan | None = None

    @property
    def stalled(self) -> bool:
        """Whether it lasts until someone changes something."""
        return self.reason is not Reason.WAITING_FOR_REMOVAL


def decide(observed: Observed, settings: Settings) -> Plan | Halt:
    """The verdict on one ChurnModel: the first check that objects, else the plan."""
    if observed.model["metadata"].get("annotations", {}).get(PAUSED_ANNOTATION) == "true":
        return Halt(Reason.PAUSED, f"The annotation {PAUSED_ANNOTATION} stops all reconciling")
    try:
        spec = parse_spec(observed.model)
    except InvalidSpecError as error:
        return Halt(Reason.INVALID_SPEC, str(error))
    plan = Plan(spec, revision_of(spec, settings))
    return find_objection(observed, plan, settings) or plan


def find_objection(observed: Observed, plan: Plan, settings: Settings) -> Halt | None:
    """What stands against `plan`, if anything."""
    return next((objection for check in CHECKS if (objection := check(observed, plan, settings))), None)


def _image_is_allowed(_: Observed, plan: Plan, settings: Settings) -> Halt | None:
    """An image runs with the namespace's rights and data: the platform may say where it comes from."""
    image, prefixes = plan.revision.image, settings.serving_image_prefixes
    if image == settings.serving_image or not prefixes:
        return None
    if any(_begins_with(image, prefix) for prefix in prefixes):
        return None
    return Halt(
        Reason.IMAGE_NOT_ALLOWED,
        f"spec.serving.image: {image} is not from where the platform allows: {', '.join(prefixes)}",
        plan,
    )


def _begins_with(image: str, prefix: str) -> bool:
    """Whether the image's name begins with whole parts: registry.example is not registry.example.org."""
    rest = image.removeprefix(prefix)
    return rest != image and (prefix[-1] in "/:@" or rest == "" or rest[0] in "/:@")


def _account_is_lent(observed: Observed, plan: Plan, _: Settings) -> Halt | None:
    """An author must not borrow an identity: its owner says by a label that ChurnModels may use it."""
    name = plan.spec.serving.service_account_name
    if name is None:
        return None
    account = observed.service_account
    if account and account["metadata"].get("labels", {}).get(SERVING_LABEL) == "true":
        return None
    problem = f'does not carry the label {SERVING_LABEL}: "true"' if account else "does not exist"
    return Halt(
        Reason.SERVICE_ACCOUNT_NOT_ALLOWED,
        f"spec.serving.serviceAccountName: the ServiceAccount {name} {problem}",
        plan,
    )


def _names_are_free(observed: Observed, plan: Plan, _: Settings) -> Halt | None:
    """A foreign object of a child's name is never touched."""
    for kind, obj in observed.children.items():
        if controller_uid(obj) != observed.uid:
            reason, message = name_taken(kind.kind, obj)
            return Halt(reason, message, plan)
    return None


def name_taken(kind: str, obj: dict[str, Any]) -> tuple[Reason, str]:
    """What to tell the author about an object in the way."""
    name = obj["metadata"]["name"]
    owner: dict[str, Any] = next(
        (o for o in obj["metadata"].get("ownerReferences", ()) if o.get("controller")), {}
    )
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) == (API_VERSION, KIND, name):
        return Reason.WAITING_FOR_REMOVAL, f"{kind} {name} of an earlier ChurnModel is still being removed"
    return (
        Reason.NAME_CONFLICT,
        f"{kind} {name} exists and belongs to someone else: delete it or give the ChurnModel another name",
    )


Check = Callable[[Observed, Plan, Settings], Halt | None]
CHECKS: tuple[Check, ...] = (_image_is_allowed, _account_is_lent, _names_are_free)
