"""What people and tools read beside predictions: the documentation, its schema and the model's metadata."""

import functools
from importlib.resources import files
from typing import Any

import msgspec

from churn_serving.routing import Route
from churn_serving.server.http import Reply, encode_json
from churn_serving.server.openapi import build_openapi
from churn_serving.server.state import Serving

_PAGE_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
)


def home(_serving: Serving) -> Reply:
    """GET /: to the documentation."""
    return Reply(307, b"", headers=((b"location", b"docs"),))


def docs(_serving: Serving) -> Reply:
    """GET /docs: a form of this model's columns that scores a customer. Needs no other host."""
    return Reply(200, _page(), b"text/html; charset=utf-8", _PAGE_HEADERS)


def openapi(serving: Serving) -> Reply:
    """GET /openapi.json."""
    table = serving.table
    return Reply(
        200, encode_json(build_openapi(table.name, table.routes[0].model.manifest, serving.settings))
    )


def models(serving: Serving) -> Reply:
    """GET /v1/models."""
    return Reply(200, encode_json({"models": [serving.table.name]}))


def metadata(serving: Serving) -> Reply:
    """GET /v1/models/{model}: the V1 protocol's name and ready, and what is loaded."""
    table = serving.table
    revisions = [_describe(route) for route in table.routes]
    return Reply(200, encode_json({"name": table.name, "ready": serving.ready, "revisions": revisions}))


def _describe(route: Route) -> dict[str, Any]:
    manifest = route.model.manifest
    return {
        "revision": route.revision,
        "weight": route.weight,
        "threshold": route.threshold,
        "digest": route.model.digest,
        **{
            name: getattr(manifest, name)
            for name in ("version", "algorithm", "target", "positive", "id", "ignored")
        },
        "features": manifest.features,
        "metrics": manifest.metrics,
        "created": None if manifest.created is msgspec.UNSET else manifest.created,
    }


@functools.cache
def _page() -> bytes:
    return (files(__package__) / "docs.html").read_bytes()
