"""One schedule for all timers: a heap and a single wake-up, however many keys wait."""

import asyncio
import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")


class Schedule(Generic[K]):
    """Calls `due(key)` when a key's time comes. A key has one time: the earliest that was asked for."""

    def __init__(self, due: Callable[[K], None]) -> None:
        self._due = due
        self._heap: list[tuple[float, int, K]] = []
        self._times: dict[K, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._count = 0  # breaks ties, so that keys need no order

    def __len__(self) -> int:
        return len(self._times)

    def at(self, key: K, seconds: float) -> None:
        """`key` is due in `seconds`, unless it is due earlier already."""
        when = asyncio.get_running_loop().time() + seconds
        if self._times.get(key, when + 1) <= when:
            return
        self._times[key] = when
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, key))
        self._arm()

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer = asyncio.get_running_loop().call_at(self._heap[0][0], self._run)

    def _run(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._times.get(key) == when:
                del self._times[key]
                self._due(key)
        self._arm()
