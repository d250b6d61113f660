"""Settings → client → caches → queue → kopf. Wiring only."""

import asyncio
import contextlib
import gc
import secrets
import signal
import socket
import sys
import time
from typing import NoReturn

import structlog
from kubernetes.aio.config import ConfigException
from pydantic import ValidationError

from churn_operator.apply import Writer
from churn_operator.audit import Audit
from churn_operator.caches import Caches, Key
from churn_operator.census import CENSUS
from churn_operator.errors import ApiError, NotLeadingError
from churn_operator.events import EventPoster
from churn_operator.logs import set_up_logs
from churn_operator.metrics import CACHES_SYNCED, RECONCILE_ERRORS, RECONCILE_SECONDS, RECONCILES
from churn_operator.probes import find_stuck, find_unready, serve_probes
from churn_operator.reconcile import Reconciler
from churn_operator.runtime.client import Client, connection
from churn_operator.runtime.lag import measure_lag
from churn_operator.runtime.lease import Alone, Lease, Right
from churn_operator.runtime.queue import WorkQueue
from churn_operator.settings import Settings, read_settings
from churn_operator.shell import Shell

log = structlog.get_logger()

CONTROLLER = "churnmodel"
DRAIN_SECONDS = 1.5


def main() -> None:
    try:
        settings = read_settings()
    except (ValueError, ValidationError) as error:
        sys.exit(f"churn-operator: {error}")
    set_up_logs(settings.log_level)
    gc.freeze()  # what the imports made lives as long as the process: no collection need look at it
    try:
        asyncio.run(run(settings))
    except ConfigException as error:
        sys.exit(
            f"churn-operator: no cluster: {error}; set KUBECONFIG or run in a pod with a service account"
        )


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT; raises if a part fails that should never end."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    queue: WorkQueue[Key] = WorkQueue()
    right = await _right(settings)
    client = Client(await connection(), right.held)
    namespace = settings.namespace or None
    # An instance that waits for its turn keeps its caches warm, and looks at all when it comes.
    caches = Caches(
        client,
        namespace,
        lambda key, *, later=False: queue.add(key, later=later) if right.held() else None,
    )
    audit = Audit(client, caches.models, namespace)
    reconciler = Reconciler(
        client=client,
        caches=caches,
        writer=Writer(client, caches),
        events=EventPoster(client, socket.gethostname()),
        settings=settings,
    )
    shell = Shell(caches.models, audit, namespace)
    CACHES_SYNCED.set_function(lambda: float(not find_unready(caches, audit)))
    CENSUS.of(caches.models.all, settings.metrics_models)
    parts = [
        asyncio.create_task(part, name=name)
        for name, part in {
            **{f"watch {reflector.kind.plural}": reflector.run() for reflector in caches.reflectors},
            **{f"worker {number}": _work(queue, reconciler, caches) for number in range(settings.workers)},
            "lease": right.run(caches.models.touch),
            "audit": audit.run(),
            "kopf": shell.run(),
            "lag": measure_lag(),
            "probes": serve_probes(
                settings.health_port,
                settings.metrics_port,
                lambda: find_stuck(caches, queue, shell),
                lambda: find_unready(caches, audit),
            ),
        }.items()
    ]
    try:
        await _until(stop, parts)
        log.info("Stopping")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(queue.drain(), DRAIN_SECONDS)
    finally:
        for part in parts:
            part.cancel()
        await right.give_back()  # first of all: another instance waits for it
        await asyncio.gather(*parts, return_exceptions=True)
        await client.close()


async def _right(settings: Settings) -> Right:
    """The right to write, as the settings have it."""
    if not settings.lease:
        return Alone()
    namespace, _, name = settings.lease.partition("/")
    identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
    return Lease(Client(await connection()), (namespace, name), settings.lease_seconds, identity)


async def _until(stop: asyncio.Event, parts: list[asyncio.Task[None]] | list[asyncio.Task[NoReturn]]) -> None:
    """Waits for `stop`; a part that ends before is a defect, and the process goes with it."""
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopping, *parts], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for task in done - {stopping}:
        await task


async def _work(queue: WorkQueue[Key], reconciler: Reconciler, caches: Caches) -> NoReturn:
    """Takes keys from the queue one by one, once the caches are whole: half a view would make twins."""
    await caches.synced()
    while True:
        await asyncio.sleep(0)  # a settled pass waits for nothing: thousands in a row would block the loop
        key = await queue.get()
        began = time.monotonic()
        try:
            again = await reconciler.reconcile(key)
        except NotLeadingError:
            queue.done(key)  # all are looked at again when the turn comes
            continue
        except ApiError as error:
            delay = queue.failed(key, error.retry_after)
            result = "error"
            log.warning(
                "Reconcile failed",
                namespace=key[0],
                name=key[1],
                error=error.message,
                status=error.status,
                retry_seconds=round(delay, 1),
            )
        except Exception:
            queue.failed(key)
            result = "error"
            log.exception("Reconcile broke", namespace=key[0], name=key[1])
        else:
            queue.done(key)
            if again is not None:
                queue.add_after(key, again)
            result = "success" if again is None else "requeue_after"
        RECONCILES.labels(controller=CONTROLLER, result=result).inc()
        if result == "error":
            RECONCILE_ERRORS.labels(controller=CONTROLLER).inc()
        RECONCILE_SECONDS.labels(controller=CONTROLLER).observe(time.monotonic() - began)


if __name__ == "__main__":
    main()
