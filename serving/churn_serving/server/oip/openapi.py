"""The protocol's part of the OpenAPI document: this model's columns are the inputs' schema."""

from typing import Any

from churn_serving.bundle.schema import Feature, Manifest
from churn_serving.reasons import typical_value
from churn_serving.server.oip.datatypes import NAMES
from churn_serving.server.oip.infer import DATATYPES
from churn_serving.server.oip.pages import datatype_of

_Json = dict[str, Any]
_SHAPE: _Json = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1},
    "minItems": 1,
    "maxItems": 2,
}


_PARAMETERS: _Json = {"type": ["object", "null"]}


def infer_request(manifest: Manifest, explain: _Json) -> _Json:
    """The schema of a request; `explain` is that of the parameter."""
    names = [feature.name for feature in manifest.features]
    columns = [_tensor({"const": feature.name}, feature) for feature in manifest.features]
    accepted = _tensor({"enum": list(manifest.accepted)}) | {"title": "Accepted, not scored."}
    matrix = _tensor({"type": "string", "not": {"enum": names}}) | {
        "title": f"The only input: a matrix [rows, {len(names)}], columns in the model's order."
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"], "description": "Comes back."},
            "inputs": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [*columns, accepted, matrix]},
            },
            "outputs": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"enum": list(DATATYPES)}, "parameters": _PARAMETERS},
                },
            },
            "parameters": {**_PARAMETERS, "properties": {"explain": explain}},
        },
    }


def infer_example(manifest: Manifest) -> _Json:
    """A request for one typical customer that this model scores."""
    inputs = [
        {
            "name": feature.name,
            "datatype": datatype_of(feature),
            "shape": [1],
            "data": [typical_value(feature)],
        }
        for feature in manifest.features
    ]
    return {"inputs": inputs}


INFER_REPLY: _Json = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs", "parameters"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string", "description": "The revision, else the bundle's version."},
        "id": {"type": "string"},
        "parameters": {
            "type": "object",
            "required": ["threshold"],
            "properties": {"threshold": {"type": "number"}},
        },
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "datatype", "shape"],
                "properties": {
                    "name": {"enum": list(DATATYPES)},
                    "datatype": {"enum": sorted(set(DATATYPES.values()))},
                    "shape": _SHAPE,
                    "data": {"type": "array"},
                },
            },
        },
    },
}


def _tensor(name: _Json, feature: Feature | None = None) -> _Json:
    usual = {} if feature is None else {"examples": [datatype_of(feature)]}
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": name,
            "datatype": {"enum": list(NAMES)} | usual,
            "shape": _SHAPE,
            "data": {"type": "array", "description": "Flat, or a list per row; null is a missing value."},
        },
    }
