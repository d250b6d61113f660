"""The OpenAPI 3.1 document: this model's columns are the request's schema, a typical customer the example."""

from collections.abc import Mapping
from typing import Any

import msgspec

from churn_serving.bundle.schema import Boolean, Categorical, Feature, Manifest, Numeric
from churn_serving.features import MAX_ID, MAX_ID_LENGTH, accepted_range
from churn_serving.reasons import typical_value
from churn_serving.server.explaining import DEFAULT_REASONS
from churn_serving.server.oip.openapi import INFER_REPLY, infer_example, infer_request
from churn_serving.server.records import MAX_REASONS
from churn_serving.server.scoring import ExplainReply, PredictReply, V1Reply
from churn_serving.settings import Settings

_Json = dict[str, Any]
_NONE: Mapping[str, str] = {}
_LEAVING = "The process is leaving."
_REF = "#/components/schemas/{name}"
_EXPLAIN: _Json = {
    "description": f"Give each customer's strongest reasons: true for {DEFAULT_REASONS}, or how many.",
    "anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 1, "maximum": MAX_REASONS}],
}
# What `features` reads as a missing value, spelled in any case.
_NOT_MISSING = r"^(?!\s*([nN]/?[aA]|[nN][aA][nN]|[nN][uU][lL][lL])?\s*$)"
_TOO_MUCH = {
    "408": "The body took too long to arrive.",
    "413": "Too many bytes, records or values.",
    "503": "Overloaded or leaving: come again after Retry-After.",
    "504": "There was no answer in time.",
}
_REFUSED = {
    "400": "The body is no JSON, or names a key twice.",
    **_TOO_MUCH,
    "415": "The body is not declared as JSON in UTF-8.",
    "422": "Columns are wrong, missing or extra; details name them.",
}
_REFUSED_V2 = {
    "400": "The body is no inference request, or an input does not fit the model's columns.",
    "404": "There is no such model or version.",
    **_TOO_MUCH,
    "415": "The body is neither JSON nor the binary extension's.",
}


def build_openapi(name: str, manifest: Manifest, settings: Settings) -> _Json:
    """The document as JSON values."""
    _, replies = msgspec.json.schema_components([PredictReply, V1Reply, ExplainReply], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Churn model {name}",
            "version": manifest.version,
            "description": f"Probability that `{manifest.target}` is `{manifest.positive}`.",
        },
        "paths": _paths(name),
        "components": {
            "schemas": {
                **replies,
                "Record": _record(manifest, settings.max_text_length),
                "PredictRequest": _request("records", settings.max_records),
                "V1Request": _request("instances", settings.max_records),
                "V2Request": infer_request(manifest, _EXPLAIN),
                "V2Reply": INFER_REPLY,
                "Error": _ERROR,
                "V1Error": _V1_ERROR,
            },
            "examples": {
                "PredictRequest": {"value": {"records": [example_record(manifest)]}},
                "V1Request": {"value": {"instances": [example_record(manifest)]}},
                "V2Request": {"value": infer_example(manifest)},
            },
        },
    }


def example_record(manifest: Manifest) -> _Json:
    """A record of typical values that this model scores."""
    values = {feature.name: typical_value(feature) for feature in manifest.features}
    return ({manifest.id: "C-1"} if manifest.id else {}) | values


def _record(manifest: Manifest, max_text: int) -> _Json:
    properties = {feature.name: _property(feature, max_text) for feature in manifest.features}
    if manifest.id:
        properties[manifest.id] = {
            "type": ["string", "integer", "null"],
            "description": "The customer's id; comes back.",
            "maxLength": MAX_ID_LENGTH,
            "minimum": -MAX_ID,
            "maximum": MAX_ID,
        }
    for column in (*manifest.ignored, manifest.target):
        properties[column] = {"description": "Accepted, not scored.", "maxLength": max_text}
    return {
        "type": "object",
        "properties": properties,
        "required": [feature.name for feature in manifest.features],
        "additionalProperties": False,
    }


def _property(feature: Feature, max_text: int) -> _Json:
    bounds: _Json = {}
    match feature:
        case Numeric():
            kind = "number"
            bounds["minimum"], bounds["maximum"] = accepted_range(feature)
            seen = f"In training {feature.minimum:g} to {feature.maximum:g}; beyond it is scored and counted."
            examples: list[Any] = [typical_value(feature)]
        case Boolean():
            kind, seen, examples = "boolean", "True or false.", [feature.typical]
        case Categorical():
            kind, seen = (
                "string",
                "The examples are the texts seen in training; another is scored as none of them.",
            )
            examples = feature.categories
            bounds["maxLength"] = max_text
            if not feature.nullable:
                bounds["pattern"] = _NOT_MISSING
    kinds = [kind, "null"] if feature.nullable else kind
    return {"type": kinds, "description": seen, "examples": examples, **bounds}


def _request(key: str, max_records: int) -> _Json:
    records = {
        "type": "array",
        "minItems": 1,
        "maxItems": max_records,
        "items": {"$ref": _REF.format(name="Record")},
    }
    return {
        "type": "object",
        "properties": {key: records, "explain": _EXPLAIN},
        "required": [key],
        "additionalProperties": False,
    }


def _paths(name: str) -> _Json:
    model = f"/v1/models/{name}"
    return {
        "/predict": {
            "post": _scoring("predict", "Score customers", "PredictRequest", "PredictReply", "Error")
        },
        f"{model}:predict": {
            "post": _scoring(
                "predictV1", "Score customers (KServe V1 protocol)", "V1Request", "V1Reply", "V1Error"
            )
        },
        f"{model}:explain": {
            "post": _scoring(
                "explainV1",
                "Score customers and give reasons (KServe V1 protocol)",
                "V1Request",
                "ExplainReply",
                "V1Error",
            )
        },
        model: {"get": _reading("metadata", "What is loaded: columns, metrics, digest, threshold")},
        "/v1/models": {"get": _reading("models", "The model's name")},
        **_v2_paths(name),
        "/livez": {"get": _reading("live", "Whether the process works")},
        "/readyz": {
            "get": _reading("ready", "Whether new traffic should come here", {"503": _LEAVING}, "Error")
        },
    }


def _v2_paths(name: str) -> _Json:
    model = f"/v2/models/{name}"
    version = {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "A revision's name, else a bundle's version.",
        "schema": {"type": "string"},
    }
    return {
        "/v2": {"get": _reading("serverV2", "The server's name, version and extensions")},
        "/v2/health/live": {"get": _reading("liveV2", "Whether the process works")},
        "/v2/health/ready": {"get": _ready_v2("readyV2")},
        **_v2_model(model, ""),
        **{
            path: {"parameters": [version], **item}
            for path, item in _v2_model(f"{model}/versions/{{version}}", "Version").items()
        },
    }


def _v2_model(model: str, which: str) -> _Json:
    infer = _scoring(
        f"infer{which}V2",
        "Score customers (Open Inference Protocol V2)",
        "V2Request",
        "V2Reply",
        "V1Error",
        refused=_REFUSED_V2,
    )
    missing = {"404": _REFUSED_V2["404"]} if which else {}
    return {
        model: {"get": _reading(f"metadata{which}V2", "Versions, inputs and outputs", missing)},
        f"{model}/ready": {"get": _ready_v2(f"modelReady{which}V2", missing)},
        f"{model}/infer": {"post": infer},
    }


def _ready_v2(operation: str, refused: Mapping[str, str] = _NONE) -> _Json:
    return _reading(operation, "Whether new traffic should come here", {"400": _LEAVING, **refused})


def _scoring(
    operation: str,
    summary: str,
    request: str,
    reply: str,
    error: str,
    *,
    refused: Mapping[str, str] = _REFUSED,
) -> _Json:
    content = _content(request)
    content["application/json"]["examples"] = {"typical": {"$ref": f"#/components/examples/{request}"}}
    return {
        "operationId": operation,
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "One prediction per record, in order.", "content": _content(reply)},
            **_errors(refused, error),
        },
    }


def _reading(
    operation: str, summary: str, refused: Mapping[str, str] = _NONE, error: str = "V1Error"
) -> _Json:
    found = {"description": summary, "content": {"application/json": {"schema": {"type": "object"}}}}
    responses = {"200": found, **_errors(refused, error)}
    return {"operationId": operation, "summary": summary, "responses": responses}


def _errors(refused: Mapping[str, str], error: str) -> _Json:
    return {status: {"description": text, "content": _content(error)} for status, text in refused.items()}


def _content(schema: str) -> _Json:
    return {"application/json": {"schema": {"$ref": _REF.format(name=schema)}}}


_ERROR: _Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {
                    "type": "array",
                    "maxItems": 20,
                    "items": {
                        "type": "object",
                        "required": ["record", "column", "problem", "message"],
                        "properties": {
                            "record": {"type": "integer", "description": "Position in the request, from 0."},
                            "column": {"type": "string"},
                            "problem": {"enum": ["missing", "unexpected", "invalid"]},
                            "message": {"type": "string"},
                        },
                    },
                },
            },
        }
    },
}
_V1_ERROR: _Json = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
