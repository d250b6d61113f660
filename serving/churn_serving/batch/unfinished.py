"""The files of an unfinished output and the journal of how far they are."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from churn_serving.batch.chunk import ScoredChunk
from churn_serving.batch.files import Task
from churn_serving.batch.journal import Journal, write_journal
from churn_serving.batch.output import Output, begin_output, go_on_with
from churn_serving.batch.source import Layout
from churn_serving.errors import DataError

_CHECKPOINT_SECONDS = 1.0
# Of the time so far: a file of many hours has no checkpoint for each of its seconds.
_CHECKPOINT_SHARE = 0.01
_REJECTED_HEADER = b"line,reason\n"


class Unfinished:
    """What is scored of a file so far.

    Attributes:
        journal: How far it is; on disk as of the last checkpoint.
    """

    def __init__(self, path: Path, journal: Journal, files: list[BinaryIO], output: Output) -> None:
        self.journal = journal
        self._path = path
        self._files = files
        self._output = output
        self._started = self._kept = time.monotonic()

    def add(self, chunk: ScoredChunk) -> None:
        """Append a chunk, and keep it where the last checkpoint is long ago."""
        self._output.write(chunk.output)
        self._files[1].write(chunk.rejected_output)
        self.journal.mark = chunk.mark
        self.journal.scored += chunk.scored
        self.journal.churning += chunk.churning
        self.journal.rejected += chunk.rejected
        now = time.monotonic()
        if now - self._kept >= max(_CHECKPOINT_SECONDS, _CHECKPOINT_SHARE * (now - self._started)):
            self._keep()

    def end(self) -> None:
        """Keep all: it is done."""
        self.journal.done = True
        self._keep()

    def _keep(self) -> None:
        self._output.settle()
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        self.journal.output_bytes, self.journal.rejected_bytes = (file.tell() for file in self._files)
        write_journal(self._path, self.journal)
        self._kept = time.monotonic()


@contextmanager
def open_unfinished(task: Task, layout: Layout, run: str, journal: Journal | None) -> Iterator[Unfinished]:
    """Open the files where an earlier `run` left them, or anew where there was none.

    Args:
        task: Which files.
        layout: How they are written.
        run: What is scored with what.
        journal: Of that earlier run.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(_open(path)) for path in task.partials]
        output = None
        if journal is not None and _cut(files, journal):
            output = go_on_with(layout, files[0])
        if journal is None or output is None:
            journal, output = Journal(run), _begin(layout, files)
        yield Unfinished(task.journal, journal, files, output)


def _open(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+b")
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written to: {error.strerror}") from None


def _cut(files: list[BinaryIO], journal: Journal) -> bool:
    """Cut off what was written after the journal; False where less is there than it says."""
    for file, size in zip(files, (journal.output_bytes, journal.rejected_bytes), strict=True):
        if file.seek(0, os.SEEK_END) < size:
            return False
        file.truncate(size)
        file.seek(size)
    return True


def _begin(layout: Layout, files: list[BinaryIO]) -> Output:
    for file in files:
        file.truncate(0)
        file.seek(0)
    files[1].write(_REJECTED_HEADER)
    return begin_output(layout, files[0])
