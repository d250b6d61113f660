"""Which files are scored and where each one's scores go."""

import fnmatch
import glob
import hashlib
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from churn_serving.batch.places import S3, LocalFile, Place, list_stored, upload
from churn_serving.batch.source import SUFFIXES, Form, form_of
from churn_serving.errors import DataError


@dataclass(frozen=True)
class Task:
    """One input and its output.

    Attributes:
        target: The file to write.
        uri: Where it is put when it is whole, if that is in a store.
    """

    source: Place
    target: Path
    uri: str | None = None

    @property
    def form(self) -> Form:
        """How the output is written: as its suffix says, else like the input."""
        return SUFFIXES.get(self.target.suffix.lower()) or form_of(self.source.suffix)

    @property
    def rejected(self) -> Path:
        """The rows that cannot be scored, with the reason."""
        return self.target.with_name(self.target.stem + ".rejected.csv")

    @property
    def told_rejected(self) -> str:
        """Where people find them."""
        return self._uri_of(self.rejected) if self.uri else str(self.rejected)

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
        if self.uri:
            self._upload()

    def _upload(self) -> None:
        for path in (self.rejected, self.target):
            if path.exists():
                upload(path, self._uri_of(path))
                path.unlink()

    def _uri_of(self, path: Path) -> str:
        return f"{(self.uri or '').rpartition('/')[0]}/{path.name}"

    def discard(self) -> None:
        """Leave nothing of an unfinished output."""
        for path in (*self.partials, self.journal):
            path.unlink(missing_ok=True)


def plan_tasks(source: str, target: str, work: Path | None = None) -> list[Task]:
    """The inputs in the order of their names.

    Args:
        source: A file; a directory, whose CSV, NDJSON and Parquet files at any depth are meant; or a
            pattern. Each may begin with `s3://bucket/`.
        target: A file for a file, else a directory. It may begin with `s3://bucket/`.
        work: Where outputs to a store grow; None takes a directory of their own among the temporary ones.

    Raises:
        DataError: There is none, or outputs would overwrite inputs or each other.
    """
    found = _find_stored(source) if source.startswith(S3) else _find(source)
    if not found:
        raise DataError(f"{source} names no file; CSV, NDJSON and Parquet files are looked for")
    tasks = [_task(place, name, target, work) for place, name in found]
    _check(tasks, source, target)
    return tasks


Found = list[tuple[Place, str]]
"""Inputs, and what each one's output is called below the target; empty where it is the target itself."""


def _find(source: str) -> Found:
    path = Path(source)
    if path.is_dir():
        inside = (each for each in sorted(path.rglob("*")) if each.is_file() and _is_customers(each.name))
        return [(LocalFile(each), str(each.relative_to(path))) for each in inside]
    if path.exists() or not glob.has_magic(source):
        if not path.is_file():
            raise DataError(f"{path} cannot be read: No such file or directory")
        return [(LocalFile(path), "")]
    matches = (Path(each) for each in sorted(glob.glob(source, recursive=True)))  # noqa: PTH207 - takes any pattern
    return [(LocalFile(each), each.name) for each in matches if each.is_file()]


def _find_stored(source: str) -> Found:
    bucket, _, key = source.removeprefix(S3).partition("/")
    if glob.has_magic(key):
        fixed = key[: min(key.find(mark) for mark in "*?[" if mark in key)]
        listed = list_stored(bucket, fixed)
        return [(each, each.name) for each in listed if fnmatch.fnmatchcase(each.key, key)]
    listed = list_stored(bucket, key)
    whole = [each for each in listed if each.key == key]
    if whole:
        return [(whole[0], "")]
    folder = key.rstrip("/") + "/" if key else ""
    inside = [each for each in listed if each.key.startswith(folder) and _is_customers(each.name)]
    return [(each, each.key.removeprefix(folder)) for each in inside]


def _is_customers(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def _task(place: Place, name: str, target: str, work: Path | None) -> Task:
    if not target.startswith(S3):
        return Task(place, Path(target) / name if name else Path(target))
    uri = f"{target.rstrip('/')}/{name}" if name else target
    mark = hashlib.sha256(target.encode()).hexdigest()[:12]
    stage = work or Path(tempfile.gettempdir()) / f"churn-serving-{mark}"
    return Task(place, stage / (name or uri.rpartition("/")[2]), uri)


def _check(tasks: list[Task], source: str, target: str) -> None:
    if target.startswith(S3):
        if tasks[0].uri in {str(task.source) for task in tasks}:
            raise DataError(f"{target} would overwrite what is to be scored; write to another place")
    elif Path(source).is_file() and Path(target).is_dir():
        raise DataError(f"{target} is a directory; name the file to write")
    elif Path(source).is_dir() and Path(target).resolve().is_relative_to(Path(source).resolve()):
        raise DataError(f"{target} lies in {source}: its files would be scored in the next run")
    written = [path.resolve() for task in tasks for path in (task.target, task.rejected)]
    repeated = [path for path, times in Counter(written).items() if times > 1]
    if repeated:
        raise DataError(f"two outputs would both be {repeated[0]}; score the inputs one by one")
    inputs = {task.source.path.resolve() for task in tasks if isinstance(task.source, LocalFile)}
    if not inputs.isdisjoint(written):
        raise DataError(f"{target} would overwrite what is to be scored; write to another place")
