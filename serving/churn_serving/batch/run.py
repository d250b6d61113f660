"""Scores files one after the other and keeps account, so that a killed run can go on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from churn_serving.batch.files import Task, plan_tasks
from churn_serving.batch.journal import Journal, read_journal
from churn_serving.batch.scoring import Scoring, load_scoring
from churn_serving.batch.source import open_source
from churn_serving.batch.unfinished import open_unfinished
from churn_serving.batch.workers import ScoreChunks, count_workers, start_workers
from churn_serving.errors import DataError


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
    rejected_paths: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def score_files(
    directory: Path,
    source: str,
    target: str,
    *,
    digest: str | None = None,
    threshold: float | None = None,
    workers: int | None = None,
    work: Path | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    """Write id, probability and churn for each customer of `source` to `target`.

    Args:
        directory: The bundle.
        source: A file, a directory or a pattern, here or `s3://bucket/…`.
        target: A file for a file, else a directory; here or `s3://bucket/…`.
        digest: The digest that the bundle must have; None accepts any.
        threshold: Probability from which a customer counts as churning; None takes the bundle's.
        workers: Processes; None takes as many as are worth it.
        work: Where what goes to a store grows; see `plan_tasks`.
        report: Told after each chunk.

    Raises:
        BundleError: The bundle is refused.
        DataError: An input cannot be used or the output cannot be written.
    """
    scoring = load_scoring(directory, digest, threshold)
    tasks = plan_tasks(source, target, work)
    sizes = [task.source.size() for task in tasks]
    summary = Summary(files=len(tasks))
    count = workers or count_workers(sum(sizes), linear=scoring.linear is not None)
    try:
        with start_workers(scoring, directory, count) as score:
            for index, task in enumerate(tasks):
                start = Progress(summary.scored + summary.rejected, sum(sizes[:index]), sum(sizes))
                _add(summary, task, _FileRun(scoring, task, score, summary, start, report).run())
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
        summary.rejected_paths.append(task.told_rejected)


@dataclass
class _FileRun:
    scoring: Scoring
    task: Task
    score: ScoreChunks
    summary: Summary
    start: Progress
    report: Callable[[Progress], None]

    def run(self) -> Journal:
        task = self.task
        run = self._fingerprint()
        journal = read_journal(task.journal, run)
        if journal is not None and journal.done:
            self.summary.resumed += journal.rows
        else:
            try:
                journal = self._score_rows(run, journal)
            except DataError:
                task.discard()  # the same rows would fail again
                raise
        task.finish(rejected=journal.rejected > 0)
        return journal

    def _fingerprint(self) -> str:
        parts = (
            self.scoring.model.digest,
            self.scoring.threshold,
            self.task.source.version(),
            self.task.form,
        )
        return " ".join(map(str, parts))

    def _score_rows(self, run: str, earlier: Journal | None) -> Journal:
        source = open_source(self.task.source, self.task.form, self.scoring.model.manifest)
        self.summary.warnings += source.warnings
        with open_unfinished(self.task, source.layout, run, earlier) as unfinished:
            journal = unfinished.journal
            self.summary.resumed += journal.rows
            self._report(journal)  # what an earlier run did is no part of this one's rate
            for chunk in self.score(source.layout, source.chunks(journal.mark)):
                unfinished.add(chunk)
                self._report(journal)
            unfinished.end()
        return journal

    def _report(self, journal: Journal) -> None:
        rows, read, total = self.start
        offset = journal.mark[0] if journal.mark else 0
        self.report(Progress(rows + journal.rows, read + offset, total))
