from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from churn_operator.crdgen import build_crd, build_root_schema

ROOT = Path(__file__).parents[2]


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a schema with its path."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from fields(schema[key], path)


def test_the_committed_crd_is_the_generated_one():
    assert yaml.safe_load((ROOT / "crds/churnmodels.churnops.io.yaml").read_text()) == build_crd()


def test_every_field_is_described():
    described = dict(fields(build_root_schema()))
    missing = [path for path, field in described.items() if not field.get("description")]
    assert missing == [".metadata", ".metadata.name"]  # the API server describes these
    assert len(described) > 80


def test_every_string_list_and_map_of_the_spec_is_bounded():
    """CEL rules are priced by the largest value that the schema admits."""
    spec = build_root_schema()["properties"]["spec"]
    bounds = {"string": {"maxLength", "enum"}, "array": {"maxItems"}}
    for path, field in fields(spec):
        if limits := bounds.get(field.get("type", "")):
            assert limits & field.keys(), path
        if "additionalProperties" in field:
            assert "maxProperties" in field, path


def test_nothing_is_left_that_apiextensions_does_not_take():
    unwanted = {"$ref", "$defs", "title", "const", "exclusiveMinimum", "exclusiveMaximum", "nullable"}
    for path, field in fields(build_root_schema()):
        assert not unwanted & field.keys(), path
        assert "anyOf" not in field or field.get("x-kubernetes-int-or-string"), path


def test_replicas_have_a_default_because_the_scale_subresource_needs_them():
    described = dict(fields(build_root_schema()))
    assert described[".spec.replicas"]["default"] == 2
