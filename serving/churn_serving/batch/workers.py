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

import msgspec

from churn_serving.batch.chunk import Chunk, ScoredChunk, score_chunk
from churn_serving.errors import DataError
from churn_serving.model import Model, load_model

_WORTH_A_PROCESS = 8 << 20  # bytes of input; less is scored before another process has loaded the model
_AHEAD = 2  # chunks in work per process: memory stays flat and none waits

ScoreChunks = Callable[[Iterable[Chunk]], Iterator[ScoredChunk]]


def count_workers(total_bytes: int) -> int:
    """One process a core, the reader's included, and fewer where there is little to do.

    On two cores that is the reader alone: to hand every row to one other process took longer when measured.
    """
    return max(1, min(len(os.sched_getaffinity(0)) - 1, total_bytes // _WORTH_A_PROCESS))


@contextmanager
def start_workers(model: Model, directory: Path, threshold: float, workers: int) -> Iterator[ScoreChunks]:
    """A function that scores chunks, in this process or in others."""
    if workers == 1:
        yield partial(map, partial(score_chunk, model, threshold))
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(directory, model.digest, threshold),
    )
    try:
        yield partial(_score_in_order, pool, workers * _AHEAD)
    except BrokenProcessPool:
        raise DataError("a process that scores has died; run the same command again to go on") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _score_in_order(pool: ProcessPoolExecutor, ahead: int, chunks: Iterable[Chunk]) -> Iterator[ScoredChunk]:
    pending: deque[Future[ScoredChunk]] = deque()
    for chunk in chunks:
        pending.append(pool.submit(_score, msgspec.msgpack.encode(chunk)))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


_worker: list[Callable[[Chunk], ScoredChunk]] = []


def _start(directory: Path, digest: str, threshold: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides
    parent = multiprocessing.parent_process()
    if parent is not None:  # a killed parent closes no queue: its workers would wait on it for ever
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _worker.append(partial(score_chunk, load_model(directory, digest), threshold))


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _score(packed: bytes) -> ScoredChunk:
    """Chunks travel packed: the pool sends bytes, but strings one by one, slower than they are scored."""
    return _worker[0](msgspec.msgpack.decode(packed, type=Chunk))
