"""/livez and /readyz for the kubelet, /metrics for Prometheus."""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from churn_operator.audit import Audit
from churn_operator.caches import Caches, Key
from churn_operator.metrics import REGISTRY
from churn_operator.runtime.queue import WorkQueue
from churn_operator.shell import Shell

STUCK_WATCH_SECONDS = 240.0
"""Every watch shows a sign of life at least each 110 s, an unreachable API server included."""
STUCK_PASS_SECONDS = 300.0
"""No pass takes this long: each of its requests ends after 30 s."""


def find_stuck(caches: Caches, queue: WorkQueue[Key], shell: Shell) -> list[str]:
    """What no longer moves, so that data grow stale. An API server that is down is no reason to restart."""
    now = time.monotonic()
    stuck = [
        f"watch of {reflector.kind.plural}"
        for reflector in caches.reflectors
        if now - reflector.beat > STUCK_WATCH_SECONDS
    ]
    if shell.silent_seconds() > STUCK_WATCH_SECONDS:
        stuck.append("watch of churnmodels")
    if queue.oldest_run_seconds() > STUCK_PASS_SECONDS:
        stuck.append("a pass over a ChurnModel")
    return stuck


def find_unready(caches: Caches, audit: Audit) -> list[str]:
    """Kinds that were not listed yet."""
    kinds = [reflector.kind.plural for reflector in caches.reflectors if not reflector.synced.is_set()]
    return kinds if audit.synced.is_set() else [*kinds, "churnmodels"]


async def serve_probes(
    health_port: int, metrics_port: int, stuck: Callable[[], list[str]], unready: Callable[[], list[str]]
) -> None:
    """Answers until cancelled."""

    async def livez(_: web.Request) -> web.Response:
        return _verdict("stuck", stuck())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict("not listed yet", unready())

    async def metrics(request: web.Request) -> web.Response:
        names = request.query.getall("name[]", [])  # as Prometheus's own clients take it
        asked = REGISTRY.restricted_registry(names) if names else REGISTRY
        return web.Response(body=generate_latest(asked), headers={"Content-Type": CONTENT_TYPE_LATEST})

    # Readiness last: who is ready can be scraped.
    runners = [
        await _listen(metrics_port, {"/metrics": metrics}),
        await _listen(health_port, {"/livez": livez, "/readyz": readyz}),
    ]
    try:
        await asyncio.Event().wait()
    finally:
        for runner in runners:
            await runner.cleanup()


def _verdict(problem: str, names: list[str]) -> web.Response:
    if names:
        return web.Response(status=503, text=f"{problem}: {', '.join(names)}\n")
    return web.Response(text="ok\n")


async def _listen(port: int, routes: dict[str, Callable[[web.Request], object]]) -> web.AppRunner:
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_get(path, handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
