"""What goes on beside a test or a measurement, for as long as a `with` block runs."""

import asyncio
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class Background(ABC):
    """Runs `_run` in a thread with an event loop of its own; it has to end once `_stop` is set.

    What it raises is raised where the block ends: what was not going on all the while proves nothing.
    """

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __enter__(self) -> Self:
        self._ran: Future[None] = self._thread.submit(lambda: asyncio.run(self._run()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.shutdown()
        self._ran.result()

    @abstractmethod
    async def _run(self) -> None: ...
