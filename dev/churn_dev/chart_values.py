"""The chart's values as others see them: the schema that Helm checks and the reference page."""

import json
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from churn_operator.settings import Settings

OWN_VALUES = {
    "namespace",
    "serving_image",
    "serving_image_prefixes",
    "serving_resources",
    "metrics_namespaces",
    "lease",
    "log_level",
}
"""Settings of the operator that other values of the chart decide."""
FIXED = {"health_port", "metrics_port"}
"""Settings that the chart's probes and Services rely on."""
SETTINGS = sorted(Settings.model_fields.keys() - OWN_VALUES - FIXED)
"""Settings of the operator that are reached through the chart's `settings`."""


def schema(written: str, crd: str) -> str:
    """The chart's values schema with its generated parts: a ChurnModel's spec and the operator's settings.

    Args:
        written: the schema as it is; what is written by hand in it stays.
        crd: the CRD, as YAML.
    """
    schema = json.loads(written)
    resource = yaml.safe_load(crd)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["definitions"]["churnModelSpec"] = strict(resource["properties"]["spec"])
    fields = Settings.model_json_schema()["properties"]
    schema["properties"]["settings"]["properties"] = {
        camel_case(name): strict(fields[name]) for name in SETTINGS
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def strict(node: Any) -> Any:
    """A CRD's schema as JSON Schema draft 7 that refuses fields it does not know.

    What only the API server understands is left out: it checks that when the object is applied.
    """
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    unused = ("x-", "title", "description", "default")
    kept = {word: said for word, said in node.items() if not word.startswith(unused)}
    if kept.pop("nullable", False):
        kept["type"] = [kept["type"], "null"]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if kept.get(exclusive) is True:  # Kubernetes has it as a flag
            kept[exclusive] = kept.pop(bound)
    if "properties" in kept:
        kept["properties"] = {name: strict(child) for name, child in kept["properties"].items()}
        kept.setdefault("additionalProperties", bool(node.get("x-kubernetes-preserve-unknown-fields")))
    for keyword in ("items", "additionalProperties"):
        if keyword in kept:
            kept[keyword] = strict(kept[keyword])
    return kept


def camel_case(name: str) -> str:
    """`store_ports` as Kubernetes writes names: `storePorts`."""
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def reference(values: str) -> str:
    """The reference page: a row for each value and setting.

    Args:
        values: the chart's commented values.yaml.
    """
    described = [*described_values(values), *described_settings()]
    rows = [f"| `{name}` | `{json.dumps(default)}` | {meaning} |" for name, default, meaning in described]
    return "\n".join([
        "# Values of the chart",
        "",
        "Written by `make generate` from `helm/churn-operator/values.yaml` and the operator's settings.",
        "A name that is not here is refused, and so is a value of another type.",
        "",
        "| value | default | meaning |",
        "|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip


def described_values(text: str) -> Iterator[tuple[str, Any, str]]:
    """Each value of a commented YAML file: dotted name, default, the comment right above it."""
    lines = text.splitlines()

    def comment_above(key: yaml.Node) -> str:
        last = first = key.start_mark.line
        while first and lines[first - 1].lstrip().startswith("#"):
            first -= 1
        return " ".join(line.strip().removeprefix("#").strip() for line in lines[first:last])

    def walk(node: Any, values: Any, prefix: str) -> Iterator[tuple[str, Any, str]]:
        for key, child in node.value:
            name, meaning, value = prefix + key.value, comment_above(key), values[key.value]
            # What has a comment is one value, whatever it holds; what has none is a section.
            if meaning:
                yield name, value, meaning
            else:
                yield from walk(child, value, f"{name}.")

    yield from walk(yaml.compose(text), yaml.safe_load(text), "")


def described_settings() -> Iterator[tuple[str, Any, str]]:
    """Each setting of the operator that is reached through `settings`: name, default, meaning."""
    for name in SETTINGS:
        field = Settings.model_fields[name]
        yield f"settings.{camel_case(name)}", to_jsonable_python(field.default), field.description or ""
