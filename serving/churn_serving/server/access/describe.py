"""What the OpenAPI document says of who may ask: nothing where anybody may."""

from typing import Any

from churn_serving.settings import Settings

_Json = dict[str, Any]
_KEYS = {
    "key": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_TOKENS = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
_OPEN = frozenset({"/livez", "/readyz", "/health", "/ready"})
_METHODS = frozenset({"get", "post"})  # what else a path has is no operation
_REFUSED = {"401": "No key or token, or one that is not good."}
_OF_KEYS = {"429": "The key's rate is used up: come again after Retry-After."}
_OF_TOKENS = {"403": "The token lacks the scope that is asked for."}


def describe_access(document: _Json, settings: Settings) -> _Json:
    """The same document with its security schemes, and what each operation may refuse."""
    if settings.auth == "none":
        return document
    schemes = _KEYS if settings.auth == "keys" else _TOKENS
    refused = _REFUSED | (_OF_KEYS if settings.auth == "keys" else _OF_TOKENS)
    paths = {
        path: {
            name: _guarded(path, each, refused) if name in _METHODS else each for name, each in item.items()
        }
        for path, item in document["paths"].items()
    }
    components = document["components"] | {"securitySchemes": schemes}
    return document | {"security": [{name: []} for name in schemes], "paths": paths, "components": components}


def _guarded(path: str, operation: _Json, refused: dict[str, str]) -> _Json:
    if path in _OPEN:
        return operation | {"security": []}
    name = "V1Error" if path.startswith(("/v1/", "/v2")) else "Error"
    schema = {"$ref": f"#/components/schemas/{name}"}
    responses = {
        status: {"description": text, "content": {"application/json": {"schema": schema}}}
        for status, text in refused.items()
    }
    return operation | {"responses": operation["responses"] | responses}
