"""One look at all connections, again and again, in place of timers on each."""

import asyncio
from collections.abc import Sequence

import uvicorn

from churn_serving.settings import Settings


async def watch(servers: Sequence[uvicorn.Server], settings: Settings) -> None:
    """End what has waited too long, for ever. A deadline is met up to a second late, at most half of it."""
    period = min(
        1.0, min(settings.receive_seconds, settings.keep_alive_seconds, settings.predict_seconds) / 4
    )
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(period)
        for server in servers:
            for connection in list(server.server_state.connections):
                connection.look(loop.time())  # type: ignore[union-attr]
