"""Leaving in steps, where uvicorn alone would stop listening at once and drop who is connected."""

import asyncio
import math
import signal

import uvicorn

from churn_serving.logs import log
from churn_serving.server.deadlines import pause
from churn_serving.server.state import Serving

# Who asks more often than this is still there.
_QUIET_SECONDS = 1.0
# Of the deadline; the rest is for what is in flight then.
_SERVING_SHARE = 0.75


def drain_on_signals(serving: Serving, traffic: uvicorn.Server) -> asyncio.Event:
    """Drain on SIGTERM. A second signal, or Ctrl-C, skips the waiting.

    Args:
        serving: Is told that it drains: readiness fails and every reply closes its connection.
        traffic: Told to exit once its clients left; it finishes what is in flight.

    Returns:
        Set when the first signal comes.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    leaving: list[asyncio.Task[None]] = []

    def on_signal(number: signal.Signals) -> None:
        if serving.draining or number is signal.SIGINT:
            traffic.should_exit = True
        else:
            log.info("draining", seconds=serving.settings.drain_seconds)
            leaving.append(loop.create_task(_leave_when_quiet(serving, traffic)))
        serving.draining = True
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return told


async def _leave_when_quiet(serving: Serving, traffic: uvicorn.Server) -> None:
    """Serve for `drain_seconds`, and on while somebody asks or is connected: a load balancer may learn late.

    A client that rests on its kept connection learns with its next request; one that is cut off while it
    sends that loses it.
    """
    loop, settings, state = asyncio.get_running_loop(), serving.settings, traffic.server_state
    began = loop.time()
    quiet = min(_QUIET_SECONDS, settings.drain_seconds)
    await asyncio.sleep(settings.drain_seconds - quiet)
    latest = began + max(settings.drain_seconds, settings.deadline_seconds * _SERVING_SHARE)
    while True:
        answered = state.total_requests
        await pause(quiet)
        gone = not state.connections and state.total_requests == answered
        if gone or not quiet or loop.time() >= latest:
            break
    spent = loop.time() - began
    log.info("leaving", seconds=round(spent, 1), connections=len(state.connections))
    traffic.config.timeout_graceful_shutdown = max(0, math.floor(settings.deadline_seconds - spent))
    traffic.should_exit = True
