"""Scores together what came together: the records of one tick of the event loop go to the model in one call.

Nobody waits for a batch to fill: the call is made as soon as the tick's requests have been read.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from churn_serving.features import Matrix
from churn_serving.scorer import Probabilities, publish

Observe = Callable[[Matrix, Probabilities, float], None]
Told = Callable[[list[Any] | Exception], None]
"""Gets what was published of a request's rows, or why there is nothing. Must not raise."""


class Scores(Protocol):
    """Gives one entry per row: a probability, or a row of them."""

    def probabilities(self, matrix: Matrix) -> Probabilities: ...


class Batcher:
    """Collects rows until the tick ends. Belongs to one event loop and one model."""

    def __init__(
        self,
        scorer: Scores,
        *,
        width: int,
        max_rows: int,
        observe: Observe,
        publish: Callable[[Probabilities], list[Any]] = publish,
    ) -> None:
        """Make an empty batch.

        Args:
            scorer: Scores.
            width: Features per row.
            max_rows: Rows in one call at most; a single request with more goes alone, in several.
            observe: Told of each call: its matrix, its probabilities and the seconds it took.
            publish: Makes of the scores what requests are told, one entry per row; once for all of a batch,
                since rounding costs the same for one number as for a hundred.
        """
        self._scorer = scorer
        self._width = width
        self._max_rows = max_rows
        self._observe = observe
        self._publish = publish
        self._waiting: list[tuple[bytes, Told]] = []

    def score_soon(self, packed: bytes, tell: Told) -> None:
        """Score rows, float32 and row after row, with this tick's batch; then `tell`, from the event loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append((packed, tell))

    def score_packed(self, packed: bytes) -> asyncio.Future[list[Any]]:
        """The same for who waits."""
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.score_soon(packed, partial(_settle, future))
        return future

    async def score_aside(self, packed: bytes, worker: Executor) -> list[Any]:
        """The same for many rows, on another thread: the event loop goes on meanwhile."""
        loop = asyncio.get_running_loop()
        scored: list[Any] = []
        for matrix in self._parts(packed):
            started = perf_counter()
            probabilities = await loop.run_in_executor(worker, self._scorer.probabilities, matrix)
            self._observe(matrix, probabilities, perf_counter() - started)
            scored += self._publish(probabilities)
        return scored

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            packed = b"".join([request for request, _ in waiting])
            parts = [self._call(matrix) for matrix in self._parts(packed)]
            published = self._publish(parts[0] if len(parts) == 1 else np.concatenate(parts))
        except Exception as error:  # noqa: BLE001 (a batch that fails must fail its requests, not hang them)
            for _, tell in waiting:
                tell(error)
            return
        at = 0
        row_bytes = 4 * self._width
        for request, tell in waiting:
            end = at + len(request) // row_bytes
            tell(published[at:end])
            at = end

    def _parts(self, packed: bytes) -> Sequence[Matrix]:
        matrix = np.frombuffer(packed, dtype=np.float32).reshape(-1, self._width)
        if len(matrix) <= self._max_rows:
            return [matrix]
        return [matrix[start : start + self._max_rows] for start in range(0, len(matrix), self._max_rows)]

    def _call(self, matrix: Matrix) -> Probabilities:
        started = perf_counter()
        probabilities = self._scorer.probabilities(matrix)
        self._observe(matrix, probabilities, perf_counter() - started)
        return probabilities


def _settle(future: asyncio.Future[list[Any]], told: list[Any] | Exception) -> None:
    if future.done():  # its client has gone
        return
    if isinstance(told, Exception):
        future.set_exception(told)
    else:
        future.set_result(told)
