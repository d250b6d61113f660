"""The keyed queue: one key never runs twice at once; what comes in while it runs makes it run once more."""

import asyncio
import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from churn_operator.metrics import QUEUE_ADDS, QUEUE_DEPTH, QUEUE_RETRIES, WAIT_SECONDS, WORK_SECONDS
from churn_operator.runtime.schedule import Schedule

K = TypeVar("K")

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 300.0
QUEUE = "churnmodel"


@dataclass
class _Run:
    started: float
    again: bool = False


class WorkQueue(Generic[K]):
    """Keys that want a pass. `get` one, then call `done` or `failed` with it.

    What changed goes before what is only looked at once more: someone waits for it, behind thousands.
    """

    def __init__(self) -> None:
        self._changed: OrderedDict[K, float] = OrderedDict()  # since when
        self._looked_at: OrderedDict[K, float] = OrderedDict()
        self._running: dict[K, _Run] = {}
        self._failures: dict[K, int] = {}
        self._held: dict[K, float] = {}  # until when, by the loop's clock
        self._schedule: Schedule[K] = Schedule(self.add)
        self._ready = asyncio.Semaphore(0)
        self._closed = False

    def add(self, key: K, *, later: bool = False) -> None:
        """`key` wants a pass now; one that the server told to wait gets it when that time is over.

        With `later` it has changed in nothing that is known, and waits for those that have.
        """
        if (rest := self._held.get(key, 0.0) - asyncio.get_running_loop().time()) > 0:
            self._schedule.at(key, rest)
        elif run := self._running.get(key):
            run.again = True
        elif key not in self._changed and not (later and key in self._looked_at):
            self._wait(key, later=later)

    def _wait(self, key: K, *, later: bool) -> None:
        since = self._looked_at.pop(key, None)
        line = self._looked_at if later else self._changed
        line[key] = asyncio.get_running_loop().time() if since is None else since
        if since is None:
            self._ready.release()
            QUEUE_ADDS.labels(name=QUEUE).inc()
            QUEUE_DEPTH.labels(name=QUEUE).set(len(self._changed) + len(self._looked_at))

    def add_after(self, key: K, seconds: float) -> None:
        """`key` wants a pass in `seconds`; an earlier wish of the same key wins."""
        self._schedule.at(key, seconds)

    async def get(self) -> K:
        """The key that changed longest ago; where none did, the next to look at. Waits for one."""
        await self._ready.acquire()
        if self._closed:
            await asyncio.Event().wait()
        key, since = (self._changed or self._looked_at).popitem(last=False)
        now = asyncio.get_running_loop().time()
        WAIT_SECONDS.labels(name=QUEUE).observe(now - since)
        self._running[key] = _Run(now)
        QUEUE_DEPTH.labels(name=QUEUE).set(len(self._changed) + len(self._looked_at))
        return key

    def done(self, key: K) -> None:
        """The pass of `key` succeeded."""
        self._failures.pop(key, None)
        self._held.pop(key, None)
        self._end(key)

    def failed(self, key: K, at_least: float | None = None) -> float:
        """The pass of `key` failed: it runs again after its backoff.

        With `at_least` seconds not before these, whatever happens meanwhile: the server said so.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        backoff = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 16), LONGEST_BACKOFF_SECONDS)
        told = at_least or 0.0
        delay = max(told, backoff) * random.uniform(1.0, 1.25)  # noqa: S311  # spreads, hides nothing
        QUEUE_RETRIES.labels(name=QUEUE).inc()
        if told:
            self._held[key] = asyncio.get_running_loop().time() + told
        self._schedule.at(key, delay)
        self._end(key)
        return delay

    async def drain(self) -> None:
        """Hands out no more keys and waits for the running passes to end."""
        self._closed = True
        while self._running:  # noqa: ASYNC110  # once in the life of the process
            await asyncio.sleep(0.01)

    def oldest_run_seconds(self) -> float:
        """Age of the pass that has been running longest."""
        now = asyncio.get_running_loop().time()
        return max((now - run.started for run in self._running.values()), default=0.0)

    def _end(self, key: K) -> None:
        run = self._running.pop(key)
        WORK_SECONDS.labels(name=QUEUE).observe(asyncio.get_running_loop().time() - run.started)
        if run.again:
            self.add(key)
