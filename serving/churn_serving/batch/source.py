"""Opens a file of customers and cuts it into chunks that any process can read and score by itself.

Chunks are cut, not parsed: to hand parsed rows to another process takes as long as to score them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from churn_serving.batch.lines import Lines, Mark, cut_csv, cut_ndjson, read_header
from churn_serving.batch.places import Place
from churn_serving.bundle.schema import Manifest
from churn_serving.errors import DataError

LINE = "line"


class Form(StrEnum):
    """How a file is written."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"


SUFFIXES = {
    ".csv": Form.CSV,
    ".ndjson": Form.NDJSON,
    ".jsonl": Form.NDJSON,
    ".parquet": Form.PARQUET,
    ".pq": Form.PARQUET,
}


class Rows(NamedTuple):
    """`number` rows of a Parquet file's row group; `first` counts from 1 over the whole file."""

    group: int
    start: int
    number: int
    first: int


class Chunk(NamedTuple):
    """A part of the file, and where the next one begins: of a Parquet file the row, and the byte by guess."""

    content: Lines | Rows
    mark: Mark


class Layout(NamedTuple):
    """What every chunk of a file shares.

    Attributes:
        header: The columns; None for NDJSON, whose records bring their own.
        id: What the id is called in the output: `line` stands for it where there is none.
        numbered: Ids are integers.
    """

    place: Place
    form: Form
    output: Form
    header: list[str] | None
    id: str
    numbered: bool


@dataclass(frozen=True)
class Source:
    """An opened file; `chunks` gives those from a mark on."""

    layout: Layout
    chunks: Callable[[Mark | None], Iterator[Chunk]]
    warnings: list[str]


def form_of(suffix: str) -> Form:
    """How a file of this name is written; what has no known name is read as CSV."""
    return SUFFIXES.get(suffix.lower(), Form.CSV)


def open_source(place: Place, output: Form, manifest: Manifest) -> Source:
    """Open a file by its suffix.

    Raises:
        DataError: It cannot be read or lacks the model's columns. While chunks are cut too.
    """
    form = form_of(place.suffix)
    header, integers, chunks = _OPEN[form](place)
    warnings = [] if header is None else _check_columns(manifest, header)
    name = manifest.id
    told = LINE if name is None or (header is not None and name not in header) else name
    layout = Layout(place, form, output, header, told, told == LINE or told in integers)
    return Source(layout, chunks, warnings)


Opened = tuple[list[str] | None, set[str], Callable[[Mark | None], Iterator[Chunk]]]


def _open_csv(place: Place) -> Opened:
    with place.open() as file:
        header, first = read_header(place, file)

    def chunks(mark: Mark | None) -> Iterator[Chunk]:
        with place.open() as file:
            for lines, after in cut_csv(file, mark or first):
                yield Chunk(lines, after)

    return header, set(), chunks


def _open_ndjson(place: Place) -> Opened:
    def chunks(mark: Mark | None) -> Iterator[Chunk]:
        with place.open() as file:
            for lines, after in cut_ndjson(place, file, mark or Mark(0, 1)):
                yield Chunk(lines, after)

    return None, set(), chunks


def _open_parquet(place: Place) -> Opened:
    from churn_serving.batch.parquet import cut_parquet, read_contents

    names, integers, groups = read_contents(place)
    size, total = place.size(), sum(groups) or 1

    def chunks(mark: Mark | None) -> Iterator[Chunk]:
        for rows in cut_parquet(groups, skip=mark.line - 1 if mark else 0):
            after = rows.first + rows.number
            yield Chunk(rows, Mark(size * (after - 1) // total, after))

    return names, integers, chunks


_OPEN: dict[Form, Callable[[Place], Opened]] = {
    Form.CSV: _open_csv,
    Form.NDJSON: _open_ndjson,
    Form.PARQUET: _open_parquet,
}


def _check_columns(manifest: Manifest, header: list[str]) -> list[str]:
    missing = [feature.name for feature in manifest.features if feature.name not in header]
    if missing:
        raise DataError(f"the file lacks columns of the model: {', '.join(missing)}")
    known = {feature.name for feature in manifest.features} | set(manifest.accepted)
    extra = [name for name in header if name not in known]
    if extra:
        raise DataError(f"the model has no such columns; take them out of the file: {', '.join(extra)}")
    if manifest.id is not None and manifest.id not in header:
        return [f"the file has no column {manifest.id!r}; its line stands for the id"]
    return []
