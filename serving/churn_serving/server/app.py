"""The traffic port's ASGI application: finds the route, answers, counts. No exception leaves it.

Scoring and probes are answered here; everything else is FastAPI's (`pages`).
"""

import asyncio
import importlib
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, Protocol

from churn_serving.server import probes
from churn_serving.server.accept import CSV, choose_form, wants_table
from churn_serving.server.access.caller import ANYBODY, Caller
from churn_serving.server.counting import count
from churn_serving.server.failures import too_late, unexpected
from churn_serving.server.http import (
    JSON,
    ClientGoneError,
    Header,
    Pending,
    Receive,
    Reply,
    RequestError,
    Scope,
    Send,
    check_json,
    collect_reply,
    overloaded,
    plain_error_reply,
    read_body,
    send_reply,
)
from churn_serving.server.inflate import encoding_of, inflate
from churn_serving.server.oip import http as oip
from churn_serving.server.routes import Body, Route
from churn_serving.server.scoring import EXPLAIN_V1, PREDICT, PREDICT_CSV, PREDICT_V1, Endpoint, Work
from churn_serving.server.state import Serving
from churn_serving.server.streams.stream import Stream, is_stream


class SendNow(Protocol):
    """Sends a whole answer."""

    def __call__(self, reply: Reply, *, close: bool) -> None: ...


_FIXED: Mapping[str, Route] = {
    route.template: route
    for route in (
        Route("/predict", hot=PREDICT, table=PREDICT_CSV),
        *(Route(path, page=probes.live, open=True) for path in ("/livez", "/health")),
        *(Route(path, page=probes.ready, open=True) for path in ("/readyz", "/ready")),
    )
}
_UNMATCHED = "unmatched"
_OTHER = Route(_UNMATCHED)
_OTHER_V1 = Route(_UNMATCHED, to_error=plain_error_reply)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class TrafficApp:
    """Serves the traffic port.

    Attributes:
        hot_paths: What `answer_soon` knows.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        name = serving.table.name
        self._routes = {
            **_FIXED,
            f"/v1/models/{name}:predict": Route(
                "/v1/models/{model}:predict", hot=PREDICT_V1, to_error=plain_error_reply
            ),
            f"/v1/models/{name}:explain": Route(
                "/v1/models/{model}:explain", hot=EXPLAIN_V1, to_error=plain_error_reply
            ),
        }
        self.hot_paths = frozenset(path.encode() for path, route in self._routes.items() if route.hot)
        self._pages: Any = None
        self._pending = Pending(serving.settings.max_pending_bytes)
        self._answering = self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        path: str = scope["path"]
        route = self._routes.get(path) or _find(path)
        received = 0
        caller = ANYBODY
        gate = self._serving.gate
        if preflight := gate.pages.preflight(scope["method"], scope["headers"]):
            await send_reply(send, preflight, close=self._serving.is_last(scope))
            self._count(_OTHER, "OPTIONS", preflight, caller, seconds=0.0, received=0)
            return
        try:
            caller = ANYBODY if route.open else gate.admit(scope["headers"])
            caller.spend()
            if route.table is not None and scope["method"] == "POST" and is_stream(scope["headers"]):
                await self._stream(
                    route, caller, started, Stream(self._serving, self._pending, scope, receive, send)
                )
                return
            if route.hot is not None and scope["method"] == "POST":
                check_json(scope["headers"])
                body, received = await self._read(scope, receive)
                reply = await self._answer(_endpoint(route, scope["headers"]).answer(self._serving, body))
            elif route.post is not None and scope["method"] == "POST":
                body, received = await self._read(scope, receive)
                reply = await self._answer(route.post(self._serving, Body(body, scope["headers"])))
            elif route.page or route.hot or route.post:
                reply = self._probe(scope, route)
            else:
                reply, template = await self._page(scope)
                route = route._replace(template=template)
        except ClientGoneError:
            return
        except asyncio.CancelledError:  # by a deadline: the answer's, or the process's
            reply = route.to_error(too_late(self._serving))
        except Exception as error:  # noqa: BLE001 (the last resort: whatever it is, the client gets our shape)
            reply = self._refuse(route, error)
        reply = gate.pages.tell(reply, scope["headers"])
        await send_reply(send, reply, close=self._serving.is_last(scope))
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._count(route, method, reply, caller, seconds=perf_counter() - started, received=received)

    async def _stream(self, route: Route, caller: Caller, started: float, stream: Stream) -> None:
        if self._streams >= self._serving.settings.max_streams:
            raise overloaded("more streams than this server answers at once")
        self._streams += 1
        try:
            await stream.answer()
        finally:
            self._streams -= 1
        count(
            self._serving,
            route.template,
            "POST",
            HTTPStatus.OK,
            caller,
            seconds=perf_counter() - started,
            received=stream.received,
            sent=stream.sent,
        )

    def answer_soon(self, path: str, headers: Sequence[Header], body: bytes, send: SendNow) -> bool:
        """Answer a POST without a task of its own: `send` is called when this tick's batch is scored.

        Returns:
            False where nothing was done: it is for `__call__`, which also says what is wrong.
        """
        started = perf_counter()
        route = self._routes.get(path)
        if route is None or route.hot is None or self._answering >= self._serving.settings.max_concurrent:
            return False
        found = self._read_now(route.hot, headers, body)
        if found is None:
            return False
        work, caller = found

        def tell(scored: list[Any] | Exception) -> None:
            self._answering -= 1
            reply = self._serving.gate.pages.tell(self._reply(route, work, scored), headers)
            send(reply, close=self._serving.draining)
            self._count(route, "POST", reply, caller, seconds=perf_counter() - started, received=len(body))

        self._answering += 1
        work.batcher.score_soon(work.packed, tell)
        return True

    def _read_now(self, hot: Endpoint, headers: Sequence[Header], body: bytes) -> tuple[Work, Caller] | None:
        if len(body) > self._serving.settings.max_body_bytes or wants_table(headers):
            return None
        try:
            caller = self._serving.gate.admit(headers)
            check_json(headers)
            work = None if encoding_of(headers) else hot.read_small(self._serving, body)
            if work is None:
                return None
            caller.spend()  # last: a request that goes the long way is counted there
        except Exception:  # noqa: BLE001 (whatever it is, the long way meets it again, and says what is wrong)
            return None
        return work, caller

    def _reply(self, route: Route, work: Work, scored: list[Any] | Exception) -> Reply:
        if isinstance(scored, Exception):
            return self._refuse(route, scored)
        try:
            return work.reply(scored)
        except Exception as error:  # noqa: BLE001 (as in `__call__`)
            return self._refuse(route, error)

    async def _read(self, scope: Scope, receive: Receive) -> tuple[bytes, int]:
        """The body, unpacked, and how many bytes were sent."""
        encoding, max_bytes = encoding_of(scope["headers"]), self._serving.settings.max_body_bytes
        body = await read_body(scope, receive, self._pending, max_bytes=max_bytes)
        if not encoding:
            return body, len(body)
        unpacked = await self._serving.aside(partial(inflate, body, encoding, max_bytes=max_bytes))
        return unpacked, len(body)

    async def _answer(self, answering: Coroutine[Any, Any, Reply]) -> Reply:
        if self._answering >= self._serving.settings.max_concurrent:
            answering.close()
            raise overloaded("more requests than this server answers at once")
        self._answering += 1
        try:
            return await answering
        finally:
            self._answering -= 1

    def _probe(self, scope: Scope, route: Route) -> Reply:
        if route.page is None or scope["method"] not in route.methods:
            raise _not_allowed(", ".join(route.methods))
        return route.page(self._serving)

    async def _page(self, scope: Scope) -> tuple[Reply, str]:
        """FastAPI's answer, and the path as metrics name it."""
        if self._pages is None:
            # In a thread: the import takes 0.2 s, in which the event loop must go on scoring.
            module = await asyncio.to_thread(importlib.import_module, "churn_serving.server.pages")
            self._pages = self._pages or module.build_pages(self._serving)
        scope = {"query_string": b"", "root_path": "", **scope}
        reply = await collect_reply(self._pages, scope)
        if reply.status == HTTPStatus.NOT_FOUND:
            raise _not_found(scope["path"], self._serving.table.name)
        if reply.status == HTTPStatus.METHOD_NOT_ALLOWED:
            raise _not_allowed(", ".join(value.decode() for name, value in reply.headers if name == b"allow"))
        return reply, scope["route"].path

    def _refuse(self, route: Route, error: Exception) -> Reply:
        if isinstance(error, RequestError):
            self._serving.metrics.errors[error.code] += 1
            return route.to_error(error)
        return route.to_error(unexpected(self._serving, error))

    def _count(
        self, route: Route, method: str, reply: Reply, caller: Caller, *, seconds: float, received: int
    ) -> None:
        count(
            self._serving,
            route.template,
            method,
            reply.status,
            caller,
            seconds=seconds,
            received=received,
            sent=len(reply.body),
        )


def _endpoint(route: Route, headers: Sequence[Header]) -> Any:
    if route.table is not None and wants_table(headers) and choose_form(headers, (JSON, CSV)) == CSV:
        return route.table
    return route.hot


def _find(path: str) -> Route:
    if path == "/v2" or path.startswith("/v2/"):
        return oip.find(path)
    return _OTHER_V1 if path.startswith("/v1/") else _OTHER


def _not_allowed(allowed: str) -> RequestError:
    headers = ((b"allow", allowed.encode()),)
    return RequestError(405, "method_not_allowed", f"this path answers {allowed}", headers=headers)


def _not_found(path: str, name: str) -> RequestError:
    if path.startswith("/v1/models/"):
        return RequestError(404, "model_not_found", f"this server has one model, at /v1/models/{name}")
    return RequestError(404, "not_found", "there is no such path; /docs lists them")
