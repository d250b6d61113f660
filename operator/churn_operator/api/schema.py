"""What the API types have in common: the base model, and CEL rules that travel with a type into the CRD."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

VALIDATIONS = "x-kubernetes-validations"

QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|[MGTPE]i?)?$"
"""Resource quantities as people write them: no sign, no exponent."""
QUALIFIED_NAME = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
"""A label key or resource name: an optional DNS prefix and a name."""
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_NAME)]


class ApiModel(BaseModel):
    """A part of the ChurnModel as it is on the wire.

    Unknown fields are dropped on reading: the API server has refused or pruned them, and an older
    operator must be able to read what a newer one's CRD let in.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def wire(self) -> dict[str, Any]:
        """The value as Kubernetes spells it: camelCase, what is unset left out."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


def rules(*pairs: tuple[str, str], **more: str) -> dict[str, Any]:
    """The schema key for CEL: one rule per (rule, message), with `more` (fieldPath) beside it."""
    return {VALIDATIONS: [{"rule": rule, "message": message, **more} for rule, message in pairs]}


_SUFFIXES = {"m": Decimal("0.001"), "": Decimal(1), "k": Decimal(1000), "Ki": Decimal(1024)} | {
    unit + binary: Decimal(1024 if binary else 1000) ** power
    for power, unit in enumerate("MGTPE", start=2)
    for binary in ("", "i")
}


def quantity_value(quantity: int | str) -> Decimal:
    """The number that a quantity such as `500m` or `1.5Gi` stands for.

    Raises:
        ValueError: It is not a quantity.
    """
    text = str(quantity)
    number = text.rstrip("mkKMGTPEi")
    try:
        return Decimal(number) * _SUFFIXES[text[len(number) :]]
    except (ArithmeticError, KeyError):
        raise ValueError(f"{quantity!r} is not a quantity such as 500m or 1Gi") from None


def check_names(named: Mapping[str, Any] | None) -> None:
    """Holds keys to the form of label keys and resource names.

    Raises:
        ValueError: A key has another form.
    """
    for key in named or ():
        if not re.fullmatch(QUALIFIED_NAME.strip("^$"), key):
            raise ValueError(f"{key[:80]!r} is no [prefix/]name of letters, digits, '-', '_' and '.'")


def _check_quantity(quantity: int | str) -> int | str:
    if not re.fullmatch(QUANTITY.strip("^$"), str(quantity)):
        raise ValueError(f"{quantity!r} is not a quantity such as 500m or 1Gi")
    return quantity


Quantity = Annotated[
    int | str,
    AfterValidator(_check_quantity),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 32,
            "pattern": QUANTITY,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
