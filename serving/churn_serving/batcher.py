"""Scores together what came together: the records of one tick of the event loop go to the model in one call.

Nobody waits for a batch to fill: the call is made as soon as the tick's requests have been read.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

from churn_serving.features import Matrix, to_matrix
from churn_serving.scorer import Probabilities

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
        self._waiting: list[tuple[Rows, asyncio.Future[Probabilities]]] = []

    def score(self, rows: Rows) -> asyncio.Future[Probabilities]:
        """The probabilities of `rows`, once this tick's batch is scored."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        future: asyncio.Future[Probabilities] = loop.create_future()
        self._waiting.append((rows, future))
        return future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        rows = [row for request, _ in waiting for row in request]
        try:
            matrix = to_matrix(rows, self._width)
            parts = [
                self._call(matrix[start : start + self._max_rows])
                for start in range(0, len(rows), self._max_rows)
            ]
        except Exception as error:  # noqa: BLE001 (a batch that fails must fail its requests, not hang them)
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        at = 0
        whole = parts[0] if len(parts) == 1 else _join(parts)
        for request, future in waiting:
            if not future.done():  # its client has gone
                future.set_result(whole[at : at + len(request)])
            at += len(request)

    def _call(self, matrix: Matrix) -> Probabilities:
        started = perf_counter()
        probabilities = self._scorer.probabilities(matrix)
        self._observe(matrix, probabilities, perf_counter() - started)
        return probabilities


def _join(parts: Sequence[Probabilities]) -> Probabilities:
    import numpy as np

    return np.concatenate(parts)
