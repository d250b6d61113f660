"""Scores chunks in their order, on as many processes as are worth their start."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

from churn_serving.batch.chunk import ScoredChunk, score_chunk
from churn_serving.batch.scoring import Scoring, load_scoring
from churn_serving.batch.source import Chunk, Layout
from churn_serving.errors import DataError

_WORTH_A_PROCESS = 32 << 20  # bytes of input; less is scored before another process has loaded the model
_AHEAD = 2  # chunks in work per process: memory stays flat and none waits

ScoreChunks = Callable[[Layout, Iterable[Chunk]], Iterator[ScoredChunk]]


def count_workers(total_bytes: int) -> int:
    """One process a core, and fewer where there is little to do.

    This process is not counted: cutting and writing take a twentieth of the CPU time of reading and scoring.
    """
    return max(1, min(len(os.sched_getaffinity(0)), total_bytes // _WORTH_A_PROCESS))


@contextmanager
def start_workers(scoring: Scoring, directory: Path, workers: int) -> Iterator[ScoreChunks]:
    """A function that scores chunks, in this process or in others."""
    if workers == 1:
        yield partial(_score_here, scoring)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(directory, scoring.model.digest, scoring.threshold),
    )
    try:
        yield partial(_score_in_order, pool, workers * _AHEAD)
    except BrokenProcessPool:
        raise DataError("a process that scores has died; run the same command again to go on") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _score_here(scoring: Scoring, layout: Layout, chunks: Iterable[Chunk]) -> Iterator[ScoredChunk]:
    for chunk in chunks:
        yield from score_chunk(scoring, layout, chunk)


def _score_in_order(
    pool: ProcessPoolExecutor, ahead: int, layout: Layout, chunks: Iterable[Chunk]
) -> Iterator[ScoredChunk]:
    pending: deque[Future[list[ScoredChunk]]] = deque()
    for chunk in chunks:
        pending.append(pool.submit(_score, layout, chunk))
        if len(pending) >= ahead:
            yield from pending.popleft().result()
    while pending:
        yield from pending.popleft().result()


_worker: list[Callable[[Layout, Chunk], Iterator[ScoredChunk]]] = []


def _start(directory: Path, digest: str, threshold: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides
    parent = multiprocessing.parent_process()
    if parent is not None:  # a killed parent closes no queue: its workers would wait on it for ever
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _worker.append(partial(score_chunk, load_scoring(directory, digest, threshold)))


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _score(layout: Layout, chunk: Chunk) -> list[ScoredChunk]:
    return list(_worker[0](layout, chunk))
