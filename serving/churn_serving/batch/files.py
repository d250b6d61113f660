"""Which files are scored and where each one's scores go."""

import glob
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from churn_serving.batch.source import SUFFIXES, Form
from churn_serving.errors import DataError


@dataclass(frozen=True)
class Task:
    """One input and its output."""

    source: Path
    target: Path

    @property
    def form(self) -> Form:
        """How the output is written: as its suffix says, else like the input."""
        given = SUFFIXES.get(self.target.suffix.lower())
        return given or SUFFIXES.get(self.source.suffix.lower(), Form.CSV)

    @property
    def rejected(self) -> Path:
        """The rows that cannot be scored, with the reason."""
        return self.target.with_name(self.target.stem + ".rejected.csv")

    @property
    def partials(self) -> list[Path]:
        """Where output and rejected rows grow until they are whole."""
        return [path.with_name(f".{path.name}.partial") for path in (self.target, self.rejected)]

    @property
    def journal(self) -> Path:
        """How far it is."""
        return self.target.with_name(f".{self.target.name}.journal")

    def finish(self, *, rejected: bool) -> None:
        """Give the whole files their names. Harmless when repeated: a kill may come in between."""
        output, refused = self.partials
        if refused.exists() and rejected:
            refused.replace(self.rejected)
        elif not rejected:
            refused.unlink(missing_ok=True)
            self.rejected.unlink(missing_ok=True)
        if output.exists():
            output.replace(self.target)

    def discard(self) -> None:
        """Leave nothing of an unfinished output."""
        for path in (*self.partials, self.journal):
            path.unlink(missing_ok=True)


def plan_tasks(source: str, target: Path) -> list[Task]:
    """The inputs in the order of their names.

    Args:
        source: A file; a directory, whose CSV and NDJSON files at any depth are meant; or a pattern.
        target: A file for a file, else a directory.

    Raises:
        DataError: There is none, or outputs would overwrite inputs or each other.
    """
    path = Path(source)
    if path.is_dir():
        found = [each for each in sorted(path.rglob("*")) if _is_customers(each)]
        tasks = [Task(each, target / each.relative_to(path)) for each in found]
    elif path.exists() or not glob.has_magic(source):
        tasks = [Task(path, target)]
    else:
        matches = (Path(each) for each in sorted(glob.glob(source, recursive=True)))  # noqa: PTH207 - takes any pattern
        tasks = [Task(each, target / each.name) for each in matches if each.is_file()]
    if not tasks:
        raise DataError(f"{source} names no file; CSV and NDJSON files are looked for")
    _check(tasks, path, target)
    return tasks


def _is_customers(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _check(tasks: list[Task], source: Path, target: Path) -> None:
    if source.is_file() and target.is_dir():
        raise DataError(f"{target} is a directory; name the file to write")
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{target} lies in {source}: its files would be scored in the next run")
    inputs = {task.source.resolve() for task in tasks}
    written = [path.resolve() for task in tasks for path in (task.target, task.rejected)]
    repeated = [path for path, times in Counter(written).items() if times > 1]
    if repeated:
        raise DataError(f"two outputs would both be {repeated[0]}; score the inputs one by one")
    for task in tasks:
        if not task.source.is_file():
            raise DataError(f"{task.source} cannot be read: No such file or directory")
    if not inputs.isdisjoint(written):
        raise DataError(f"{target} would overwrite what is to be scored; write to another place")
