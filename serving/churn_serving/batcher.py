"""Scores together what came together: the records of one tick of the event loop go to the model in one call.

Nobody waits for a batch to fill: the call is made as soon as the tick's requests have been read.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from churn_serving.features import Matrix, to_matrix
from churn_serving.scorer import Probabilities, publish

Rows = Sequence[Sequence[float]]
Observe = Callable[[Matrix, Probabilities, float], None]


class Scores(Protocol):
    """Gives one entry per row: a probability, or a row of them."""

    def probabilities(self, matrix: Matrix) -> Probabilities: ...


class Batcher:
    """Collects rows until the tick ends. Belongs to one event loop and one model."""

    def __init__(self, scorer: Scores, *, width: int, max_rows: int, observe: Observe) -> None:
        """Make an empty batch.

        Args:
            scorer: Scores.
            width: Features per row.
            max_rows: Rows in one call at most; a single request with more goes alone, in several.
            observe: Told of each call: its matrix, its probabilities and the seconds it took.
        """
        self._scorer = scorer
        self._width = width
        self._max_rows = max_rows
        self._observe = observe
        self._waiting: list[tuple[bytes, bool, asyncio.Future[Any]]] = []

    def score(self, rows: Rows) -> asyncio.Future[Probabilities]:
        """The probabilities of `rows`, once this tick's batch is scored."""
        return self._wait(to_matrix(rows, self._width).tobytes(), published=False)

    def score_packed(self, packed: bytes) -> asyncio.Future[list[float]]:
        """The same, published, of rows as `server.rows` packs them."""
        return self._wait(packed, published=True)

    async def score_aside(self, packed: bytes, worker: Executor) -> list[float]:
        """The same for many rows, on another thread: the event loop goes on meanwhile."""
        loop = asyncio.get_running_loop()
        scored: list[float] = []
        for matrix in self._parts(packed):
            started = perf_counter()
            probabilities = await loop.run_in_executor(worker, self._scorer.probabilities, matrix)
            self._observe(matrix, probabilities, perf_counter() - started)
            scored += publish(probabilities)
        return scored

    def _wait(self, packed: bytes, *, published: bool) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((packed, published, future))
        return future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            packed = b"".join([request for request, _, _ in waiting])
            parts = [self._call(matrix) for matrix in self._parts(packed)]
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
            # Rounding costs the same for one number as for a hundred.
            told = publish(whole) if any(published for _, published, _ in waiting) else []
        except Exception as error:  # noqa: BLE001 (a batch that fails must fail its requests, not hang them)
            for *_, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        at = 0
        row_bytes = 4 * self._width
        for request, published, future in waiting:
            end = at + len(request) // row_bytes
            if not future.done():  # its client has gone
                future.set_result(told[at:end] if published else whole[at:end])
            at = end

    def _parts(self, packed: bytes) -> list[Matrix]:
        matrix = np.frombuffer(packed, dtype=np.float32).reshape(-1, self._width)
        if len(matrix) <= self._max_rows:
            return [matrix]
        return [matrix[start : start + self._max_rows] for start in range(0, len(matrix), self._max_rows)]

    def _call(self, matrix: Matrix) -> Probabilities:
        started = perf_counter()
        probabilities = self._scorer.probabilities(matrix)
        self._observe(matrix, probabilities, perf_counter() - started)
        return probabilities
