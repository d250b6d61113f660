"""How late the event loop is: what blocks it delays every watch, write and renewal of the Lease."""

import asyncio
from typing import NoReturn

from churn_operator.metrics import LOOP_LAG

PERIOD_SECONDS = 0.25


async def measure_lag() -> NoReturn:
    """Observes by how much a timer is late, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + PERIOD_SECONDS
        await asyncio.sleep(PERIOD_SECONDS)
        LOOP_LAG.observe(max(0.0, loop.time() - due))
