"""One thread for what would hold up the event loop, and with it the probes."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Worker(ThreadPoolExecutor):
    """Does one piece of work after the other, and tells how long it has been at one.

    Nothing can end a thread that does not come back, as from a graph that never ends: who was waiting is told
    by a deadline, who comes next waits as long, and only another process helps.
    """

    def __init__(self) -> None:
        super().__init__(1, "large-requests")
        self._since: float | None = None

    @property
    def busy_seconds(self) -> float:
        """How long it has been at this piece of work; 0 where it is at none."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def submit(
        self, work: Callable[_Given, _Result], /, *arguments: _Given.args, **options: _Given.kwargs
    ) -> Future[_Result]:
        """Do it when what came before is done."""
        return super().submit(self._do, partial(work, *arguments, **options))

    def _do(self, work: Callable[[], _Result]) -> _Result:
        self._since = time.monotonic()
        try:
            return work()
        finally:
            self._since = None
