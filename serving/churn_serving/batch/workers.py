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

import numpy as np

from churn_serving.batch.chunk import ScoredChunk, score_chunk
from churn_serving.batch.scoring import Scoring, load_scoring
from churn_serving.batch.source import Chunk, Layout
from churn_serving.errors import DataError

# Bytes of input: less is scored before another process has started and loaded the model, in about a second.
_WORTH_A_PROCESS, _WORTH_A_PROCESS_OF_TREES = 128 << 20, 16 << 20
_KEPT_BYTES = 24 << 20  # below the 32 MiB up to which glibc learns
_AHEAD = 2  # chunks in work per process: memory stays flat and none waits

ScoreChunks = Callable[[Layout, Iterable[Chunk]], Iterator[ScoredChunk]]


def count_workers(total_bytes: int, *, linear: bool) -> int:
    """One process a core, and fewer where there is little to do.

    This process is not counted: cutting and writing take a twentieth of the CPU time of reading and scoring.

    Args:
        total_bytes: Of all inputs.
        linear: They are scored from weights, which takes a tenth of the time of trees.
    """
    worth = _WORTH_A_PROCESS if linear else _WORTH_A_PROCESS_OF_TREES
    return max(1, min(len(os.sched_getaffinity(0)), total_bytes // worth))


@contextmanager
def start_workers(scoring: Scoring, directory: Path, workers: int) -> Iterator[ScoreChunks]:
    """A function that scores chunks, in this process or in others."""
    _keep_freed_memory()
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


def _keep_freed_memory() -> None:
    """Each column of some ten thousand rows is worked on in memory that the one before it has freed.

    glibc gives pieces of 128 KiB back at once, and the system clears each page before it gives it again:
    that takes longer than to score. It learns from the largest piece that was freed, here one nobody touches.
    """
    np.empty(_KEPT_BYTES, dtype=np.uint8)


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
    _keep_freed_memory()
    _worker.append(partial(score_chunk, load_scoring(directory, digest, threshold)))


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _score(layout: Layout, chunk: Chunk) -> list[ScoredChunk]:
    return list(_worker[0](layout, chunk))
