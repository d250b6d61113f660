"""Scores files one after the other and keeps account, so that a killed run can go on."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from churn_serving.batch.chunk import ScoredChunk, id_name, sort_rows
from churn_serving.batch.files import Task, plan_tasks
from churn_serving.batch.journal import Journal, read_journal, write_journal
from churn_serving.batch.source import Form, Source, open_source
from churn_serving.batch.workers import ScoreChunks, count_workers, start_workers
from churn_serving.errors import DataError
from churn_serving.model import Model

_CHECKPOINT_SECONDS = 1.0


class Progress(NamedTuple):
    """How far the run is; bytes are of the inputs."""

    rows: int
    bytes_read: int
    bytes_total: int


@dataclass
class Summary:
    """What became of all rows.

    Attributes:
        resumed: Rows, among all, that an earlier run had dealt with.
        rejected_paths: Where rejected rows are.
    """

    files: int = 0
    scored: int = 0
    churning: int = 0
    rejected: int = 0
    resumed: int = 0
    rejected_paths: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def score_files(
    model: Model,
    directory: Path,
    source: str,
    target: Path,
    *,
    threshold: float,
    workers: int | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Write id, probability and churn for each customer of `source` to `target`.

    Args:
        model: Loaded from `directory`.
        directory: The bundle, for the other processes.
        source: A file, a directory or a pattern.
        target: A file for a file, else a directory.
        threshold: Probability from which a customer counts as churning.
        workers: Processes; None takes as many as are worth it.
        report: Told after each chunk.

    Raises:
        DataError: An input cannot be used or the output cannot be written.
    """
    tasks = plan_tasks(source, target)
    sizes = [task.source.stat().st_size for task in tasks]
    summary = Summary(files=len(tasks))
    count = workers or count_workers(sum(sizes))
    try:
        with start_workers(model, directory, threshold, count) as score:
            for index, task in enumerate(tasks):
                start = Progress(summary.scored + summary.rejected, sum(sizes[:index]), sum(sizes))
                _add(summary, task, _FileRun(model, threshold, task, score, summary, start, report).run())
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}") from None
    for task in tasks:
        task.journal.unlink(missing_ok=True)
    return summary


def _add(summary: Summary, task: Task, journal: Journal) -> None:
    summary.scored += journal.scored
    summary.churning += journal.churning
    summary.rejected += journal.rejected
    if journal.rejected:
        summary.rejected_paths.append(task.rejected)


@dataclass
class _FileRun:
    model: Model
    threshold: float
    task: Task
    score: ScoreChunks
    summary: Summary
    start: Progress
    report: Callable[[Progress], None]

    def run(self) -> Journal:
        task = self.task
        run = self._fingerprint()
        journal = read_journal(task.journal, run)
        if journal is not None:
            self.summary.resumed += journal.rows
        if journal is None or not journal.done:
            try:
                journal = self._score_rows(journal, run)
            except DataError:
                task.discard()  # the same rows would fail again
                raise
        task.finish(rejected=journal.rejected > 0)
        return journal

    def _fingerprint(self) -> str:
        found = self.task.source.stat()
        parts = (
            self.model.digest,
            self.threshold,
            self.task.source.resolve(),
            found.st_size,
            found.st_mtime_ns,
        )
        return " ".join(map(str, (*parts, self.task.form)))

    def _score_rows(self, journal: Journal | None, run: str) -> Journal:
        source = open_source(self.task.source, self.model.manifest)
        self.summary.warnings += source.warnings
        with ExitStack() as stack:
            files = [stack.enter_context(_open(path)) for path in self.task.partials]
            if journal is None or not _cut(files, journal):
                journal = Journal(run)
                self._begin(files, source)
            chunks = (
                sort_rows(source.header, self.task.form, rows) for rows in source.chunks(skip=journal.rows)
            )
            self._write(journal, files, self.score(chunks), source)
            journal.done = True
            _checkpoint(self.task.journal, journal, files)
        return journal

    def _begin(self, files: list[BinaryIO], source: Source) -> None:
        for file in files:
            file.truncate(0)
            file.seek(0)
        if self.task.form is Form.CSV:
            files[0].write(f"{_cell(id_name(self.model, source.header))},probability,churn\n".encode())
        files[1].write(b"line,reason\n")

    def _write(
        self, journal: Journal, files: list[BinaryIO], scored: Iterator[ScoredChunk], source: Source
    ) -> None:
        due = time.monotonic() + _CHECKPOINT_SECONDS
        for chunk in scored:
            files[0].write(chunk.output)
            files[1].write(chunk.rejected_output)
            journal.rows += chunk.rows
            journal.scored += chunk.scored
            journal.churning += chunk.churning
            journal.rejected += chunk.rejected
            if time.monotonic() >= due:
                _checkpoint(self.task.journal, journal, files)
                due = time.monotonic() + _CHECKPOINT_SECONDS
            rows, read, total = self.start
            self.report(Progress(rows + journal.rows, read + source.position(), total))


def _open(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")  # noqa: PTH123 - neither emptied nor required
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


def _checkpoint(path: Path, journal: Journal, files: list[BinaryIO]) -> None:
    for file in files:
        file.flush()
        os.fsync(file.fileno())
    journal.output_bytes, journal.rejected_bytes = (file.tell() for file in files)
    write_journal(path, journal)


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n\r') else text
