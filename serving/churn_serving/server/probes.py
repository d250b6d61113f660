"""Liveness, readiness and the metrics port's ASGI application, which the kubelet and Prometheus ask."""

from typing import Any

from prometheus_client import CollectorRegistry

from churn_serving.server.exposition import CONTENT_TYPE, Exposition
from churn_serving.server.http import (
    Receive,
    Reply,
    RequestError,
    Scope,
    Send,
    encode_json,
    error_reply,
    send_reply,
)
from churn_serving.server.state import Serving


def live(serving: Serving) -> Reply:
    """GET /livez: the event loop turns, and the worker comes back: else a restart is the cure."""
    if serving.stuck:
        text = "a large request has held up all that came behind it, for longer than anybody waits"
        return error_reply(RequestError(503, "stuck", text))
    return Reply(200, encode_json({"status": "live"}))


def ready(serving: Serving) -> Reply:
    """GET /readyz: 200 while new traffic should come here, 503 once the process is leaving."""
    if serving.ready:
        detail: dict[str, Any] = {"failed": serving.failures} if serving.failures else {}
        if refused := [file.name for file in serving.mounted if file.refused]:
            detail["refused_files"] = refused
        return Reply(200, encode_json({"status": "ready", "model": serving.table.name, **detail}))
    return error_reply(
        RequestError(503, "draining", "this server is shutting down", headers=((b"retry-after", b"1"),))
    )


class ProbeApp:
    """Serves the metrics port."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._exposition = Exposition(serving.metrics, CollectorRegistry())
        self._pages = {"/livez": live, "/readyz": ready, "/metrics": self._metrics}

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        page = self._pages.get(scope["path"])
        if page is None:
            reply = error_reply(RequestError(404, "not_found", f"this port has {', '.join(self._pages)}"))
        elif scope["method"] not in {"GET", "HEAD"}:
            headers = ((b"allow", b"GET, HEAD"),)
            reply = error_reply(
                RequestError(405, "method_not_allowed", "this path answers GET", headers=headers)
            )
        else:
            reply = page(self._serving)
        await send_reply(send, reply, close=False)

    def _metrics(self, _serving: Serving) -> Reply:
        return Reply(200, self._exposition.render(), CONTENT_TYPE)
