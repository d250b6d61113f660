"""`serve`: load, listen on both ports, follow serving.json, and leave without failing a request."""

import asyncio
import gc
import math
import os
import resource
import socket
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn
import uvloop

from churn_serving.errors import ChurnServingError, ConfigInvalidError
from churn_serving.logs import log
from churn_serving.model import Model, load_model
from churn_serving.routing import (
    Failure,
    Table,
    build_single_table,
    build_table,
    load_revisions,
    read_serving_file,
)
from churn_serving.server.app import TrafficApp
from churn_serving.server.connection import Connection
from churn_serving.server.deadlines import watch
from churn_serving.server.drain import drain_on_signals
from churn_serving.server.follow import follow
from churn_serving.server.listen import listen
from churn_serving.server.metrics import Metrics
from churn_serving.server.mounted import Stamp, follow_mounted, stamp_of
from churn_serving.server.probes import ProbeApp
from churn_serving.server.short_way import ScoringConnection
from churn_serving.server.state import Serving
from churn_serving.server.tls import Certificate, TlsServer
from churn_serving.settings import Settings
from churn_serving.termination import write_termination_message

if TYPE_CHECKING:
    from churn_serving.server.oip.grpc import GrpcPort

# Looking for cycles every 700 objects takes a twentieth of the CPU under load.
_COLLECT_EVERY = 50_000
# Of the metrics port, the bundles and the libraries.
_OTHER_FILES = 512
# Each connection to the port of HTTP; to that of gRPC, it and both ends of the one behind it.
_FILES_WITH_GRPC = 4


def serve(settings: Settings) -> int:
    """Serve until told to stop.

    Returns:
        The exit code: 0 after a drain, 1 where a bundle, serving.json or a port is refused.
    """
    try:
        table, models, failures, seen = _load(settings)
        serving = Serving(settings=settings, table=table, metrics=Metrics(), failures=failures)
        listeners = [listen(settings.host, port) for port in (settings.port, settings.metrics_port)]
    except ChurnServingError as error:
        return _refuse(error)
    for failure in failures:
        log.error("revision left out, the others serve", **msgspec.structs.asdict(failure))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_run(serving, models, seen, listeners))
        except ConfigInvalidError as error:
            return _refuse(error)
    if serving.worker.busy_seconds:  # nobody waits for it but Python, which does so for ever if it is stuck
        os._exit(0)
    return 0


def _refuse(error: ChurnServingError) -> int:
    log.error("cannot serve", reason=error.reason, message=str(error))
    write_termination_message(error)
    return 1


def _load(settings: Settings) -> tuple[Table, dict[str, Model], tuple[Failure, ...], Stamp | None]:
    if settings.model is not None:
        return build_single_table(settings.name, load_model(settings.model, settings.digest)), {}, (), None
    if settings.config is None:
        raise ConfigInvalidError("give either --model DIR or --config FILE")
    seen = stamp_of(settings.config)
    file = read_serving_file(settings.config)
    models, failures = load_revisions(settings.models_dir, file)
    return build_table(settings.name, file, models), models, failures, seen


async def _run(
    serving: Serving, models: dict[str, Model], seen: Stamp | None, listeners: list[socket.socket]
) -> None:
    settings = serving.settings
    traffic = build_server(TrafficApp(serving), serving, ScoringConnection, serving.certificate)
    probes = build_server(ProbeApp(serving), serving)
    rpcs = _open_grpc(serving)
    draining, closing = drain_on_signals(serving, traffic), asyncio.Event()
    _allow_files(settings.max_connections * (1 if rpcs is None else _FILES_WITH_GRPC))
    tasks = [
        asyncio.create_task(probes._serve([listeners[1]])),  # noqa: SLF001 (serve() would take the signals)
        asyncio.create_task(watch((traffic, probes), settings)),
    ]
    if serving.mounted:
        tasks.append(asyncio.create_task(follow_mounted(serving.mounted, settings.config_poll_seconds)))
    if settings.config is not None:
        tasks.append(asyncio.create_task(follow(serving, settings.config, models, seen)))
    if rpcs is not None:
        tasks.append(asyncio.create_task(rpcs.serve(draining, closing)))
    gc.collect()
    gc.freeze()  # what is loaded lives as long as the process: no collection need look at it again
    gc.set_threshold(_COLLECT_EVERY)
    serving.metrics.start_seconds = _process_age_seconds()
    _log_ready(serving, listeners, None if rpcs is None else rpcs.number)
    await traffic._serve([listeners[0]])  # noqa: SLF001
    closing.set()
    if rpcs is not None:
        await tasks[-1]
    probes.should_exit = True
    await asyncio.wait(tasks[:1], timeout=1)
    for task in tasks:
        task.cancel()
    log.info("stopped")


def build_server(
    app: Any,
    serving: Serving,
    kind: type[Connection] = Connection,
    certificate: Certificate | None = None,
) -> uvicorn.Server:
    """A uvicorn for one port; it neither listens nor takes signals.

    Args:
        app: The port's ASGI application.
        serving: What its connections look at.
        kind: Of connection.
        certificate: To speak TLS with.
    """
    settings = serving.settings
    connection: Any = partial(kind, serving)
    config = uvicorn.Config(
        app,
        loop="none",
        http=connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=math.floor(settings.deadline_seconds - settings.drain_seconds),
    )
    if certificate is None:
        return uvicorn.Server(config)
    return TlsServer(config, certificate, settings.receive_seconds)


def _open_grpc(serving: Serving) -> "GrpcPort | None":
    settings = serving.settings
    if settings.grpc_port is None:
        return None
    from churn_serving.server.oip.grpc import GrpcPort  # 15 MB

    return GrpcPort(serving, listen(settings.host, settings.grpc_port))


def _allow_files(connections: int) -> None:
    """A container's usual 1024 open files are fewer than its connections may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _log_ready(serving: Serving, listeners: list[socket.socket], grpc_port: int | None) -> None:
    ports = [listener.getsockname()[1] for listener in listeners]
    log.info(
        "ready",
        model=serving.table.name,
        versions=[route.model.manifest.version for route in serving.table.routes],
        digests=[route.model.digest for route in serving.table.routes],
        auth=serving.settings.auth,
        tls=serving.certificate is not None,
        port=ports[0],
        metrics_port=ports[1],
        **({} if grpc_port is None else {"grpc_port": grpc_port}),
        seconds=round(serving.metrics.start_seconds, 3),
    )


def _process_age_seconds() -> float:
    """Seconds since the process began, which is before Python did; 0 where /proc does not tell."""
    try:
        began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf(
            "SC_CLK_TCK"
        )
    except OSError:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began
