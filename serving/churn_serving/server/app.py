"""The traffic port's ASGI application: finds the route, answers, counts. No exception leaves it."""

import traceback
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import NamedTuple

from churn_serving.logs import log
from churn_serving.server import pages, probes, scoring
from churn_serving.server.http import (
    ClientGoneError,
    Receive,
    Reply,
    RequestError,
    Scope,
    Send,
    check_json,
    error_reply,
    plain_error_reply,
    read_body,
    send_reply,
)
from churn_serving.server.state import Serving

Page = Callable[[Serving], Reply]
Hot = Callable[[Serving, bytes], Awaitable[Reply]]


class Route(NamedTuple):
    """What answers a path. Either `page` (GET, HEAD) or `hot` (POST).

    Attributes:
        template: The path as metrics name it.
        to_error: The shape of this route's errors.
    """

    template: str
    page: Page | None = None
    hot: Hot | None = None
    to_error: Callable[[RequestError], Reply] = error_reply

    @property
    def methods(self) -> tuple[str, ...]:
        return ("POST",) if self.hot else ("GET", "HEAD")


_FIXED: Mapping[str, Route] = {
    route.template: route
    for route in (
        Route("/predict", hot=scoring.predict),
        Route("/v1/models", page=pages.models),
        Route("/docs", page=pages.docs),
        Route("/openapi.json", page=pages.openapi),
        Route("/", page=pages.home),
        *(Route(path, page=probes.live) for path in ("/livez", "/health")),
        *(Route(path, page=probes.ready) for path in ("/readyz", "/ready")),
    )
}
_UNMATCHED = Route("unmatched")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class TrafficApp:
    """Serves the traffic port."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        name = serving.table.name
        self._routes = {
            **_FIXED,
            f"/v1/models/{name}": Route(
                "/v1/models/{model}", page=pages.metadata, to_error=plain_error_reply
            ),
            f"/v1/models/{name}:predict": Route(
                "/v1/models/{model}:predict", hot=scoring.predict_v1, to_error=plain_error_reply
            ),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        route = self._routes.get(scope["path"], _UNMATCHED)
        received = 0
        try:
            if route.hot is not None and scope["method"] == "POST":
                check_json(scope["headers"])
                body = await self._read(scope, receive)
                received = len(body)
                reply = await route.hot(self._serving, body)
            else:
                reply = self._page(scope, route)
        except RequestError as error:
            self._serving.metrics.errors[error.code] += 1
            reply = route.to_error(error)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001 (the last resort: whatever it is, the client gets our shape)
            reply = route.to_error(self._unexpected(error))
        # In a drain the client is told not to come back on this connection: it goes to another pod.
        await send_reply(send, reply, close=self._serving.draining)
        self._count(scope, route, reply, perf_counter() - started, received)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        settings = self._serving.settings
        return await read_body(
            scope, receive, max_bytes=settings.max_body_bytes, seconds=settings.receive_seconds
        )

    def _page(self, scope: Scope, route: Route) -> Reply:
        if route is _UNMATCHED:
            raise _not_found(scope["path"], self._serving.table.name)
        if scope["method"] not in route.methods:
            allowed = ", ".join(route.methods)
            headers = ((b"allow", allowed.encode()),)
            raise RequestError(405, "method_not_allowed", f"this path answers {allowed}", headers=headers)
        assert route.page is not None  # noqa: S101 (a route without a page answers POST only)
        return route.page(self._serving)

    def _unexpected(self, error: Exception) -> RequestError:
        self._serving.metrics.errors["internal"] += 1
        # Type and place only: the message of an exception may hold a customer's value.
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        log.error("request failed", error=type(error).__name__, places=places)
        return RequestError(500, "internal", "the server failed on this request; its log says where")

    def _count(self, scope: Scope, route: Route, reply: Reply, seconds: float, received: int) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._serving.metrics.observe_request(
            route.template, method, reply.status, seconds=seconds, received=received, sent=len(reply.body)
        )
        if self._serving.settings.access_log:
            log.info(
                "request", route=route.template, method=method, status=reply.status, seconds=round(seconds, 6)
            )


def _not_found(path: str, name: str) -> RequestError:
    if path.startswith("/v1/models/"):
        return RequestError(404, "model_not_found", f"this server has one model, at /v1/models/{name}")
    return RequestError(404, "not_found", "there is no such path; /docs lists them")
