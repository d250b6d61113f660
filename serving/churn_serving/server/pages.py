"""What people and tools read beside predictions: a FastAPI application, imported at its first use."""

import functools
from importlib.resources import files
from typing import Any

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response

from churn_serving.routing import Route
from churn_serving.server.access.describe import describe_access
from churn_serving.server.http import encode_json
from churn_serving.server.openapi import build_openapi
from churn_serving.server.state import Serving

_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
    ),
    "x-content-type-options": "nosniff",
}
_READ = ["GET", "HEAD"]


def build_pages(serving: Serving) -> FastAPI:
    """The pages of one server. Every answer is built from the routing table as it is at that moment."""
    # The schema is this model's: it is built from the bundle, and the page needs no other host.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)

    @app.api_route("/", methods=_READ)
    async def home(request: Request) -> Response:
        """A browser goes to the documentation; a client of the V1 protocol asks here whether we live."""
        if "text/html" in request.headers.get("accept", ""):
            return Response(status_code=307, headers={"location": "docs"})
        return _json({"status": "alive"})

    @app.api_route("/docs", methods=_READ)
    async def docs() -> Response:
        """A form of this model's columns that scores a customer."""
        return Response(_page(), media_type="text/html", headers=_PAGE_HEADERS)

    @app.api_route("/openapi.json", methods=_READ)
    async def openapi() -> Response:
        table = serving.table
        document = build_openapi(table.name, table.routes[0].model.manifest, serving.settings)
        return _json(describe_access(document, serving.settings))

    @app.api_route("/v1/models", methods=_READ)
    async def models() -> Response:
        return _json({"models": [serving.table.name]})

    @app.post("/v1/models/{model}:predict")
    async def other_model(model: str) -> Response:  # noqa: ARG001 - the path names it
        """This server's own model never comes here."""
        raise HTTPException(404)

    @app.api_route("/v1/models/{model}", methods=_READ)
    async def metadata(model: str) -> Response:
        """The V1 protocol's name and ready, and what is loaded."""
        table = serving.table
        if model != table.name:
            raise HTTPException(404)
        revisions = [_describe(route) for route in table.routes]
        return _json(
            {"name": table.name, "ready": serving.ready, "revisions": revisions, "failed": serving.failures}
        )

    return app


def _json(content: Any) -> Response:
    return Response(encode_json(content), media_type="application/json")


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
