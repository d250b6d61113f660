"""Scores a CSV file of customers in chunks, with the validator and the encoder of the server.

No row is lost: each is in the output or, with its line number and the reason, among the rejected ones.
"""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from churn_serving.bundle.schema import Manifest
from churn_serving.csvfile import MalformedRow, Row, read_customers
from churn_serving.errors import DataError
from churn_serving.features import InvalidRecordsError, parse_cell, to_matrix
from churn_serving.model import Model
from churn_serving.scorer import publish

_CHUNK_ROWS = 4096
_LINE = "line"


class Summary(NamedTuple):
    """What became of a file's rows.

    Attributes:
        rejected_path: None where no row was rejected.
    """

    scored: int
    churning: int
    rejected: int
    rejected_path: Path | None
    warnings: list[str]


class _Rejected(NamedTuple):
    line: int
    reason: str


class _Scorable(NamedTuple):
    line: int
    id: str
    row: list[float]


def score_file(model: Model, customers: Path, out: Path, *, threshold: float) -> Summary:
    """Write `id, probability, churn` for each customer to `out`.

    The id column has its own name; without one the customer's line in the file stands for it.

    Raises:
        DataError: The file is no CSV of customers, lacks columns of the model, or `out` cannot be written.
    """
    header, rows = read_customers(customers)
    warnings = _check_columns(model.manifest, header)
    rejected_path = out.with_name(out.stem + ".rejected.csv")
    partials = [path.with_name(f".{path.name}.partial") for path in (out, rejected_path)]
    try:
        with _create(partials[0]) as file, _create(partials[1]) as rejected_file:
            counts = _write(model, header, rows, file, rejected_file, threshold=threshold)
        partials[0].replace(out)
        rejected_path.unlink(missing_ok=True)
        if counts.rejected:
            partials[1].replace(rejected_path)
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)
    return Summary(*counts, rejected_path if counts.rejected else None, warnings)


class _Counts(NamedTuple):
    scored: int
    churning: int
    rejected: int


def _write(
    model: Model,
    header: list[str],
    rows: Iterator[Row | MalformedRow],
    file: TextIO,
    rejected_file: TextIO,
    *,
    threshold: float,
) -> _Counts:
    write, reject = (csv.writer(target, lineterminator="\n") for target in (file, rejected_file))
    write.writerow([model.manifest.id if model.manifest.id in header else _LINE, "probability", "churn"])
    reject.writerow([_LINE, "reason"])
    scored = churning = rejected = 0
    encoded = _encode(model, header, rows)
    while chunk := list(islice(encoded, _CHUNK_ROWS)):
        scorable = [row for row in chunk if isinstance(row, _Scorable)]
        probabilities = _score(model, scorable)
        flags = ["true" if probability >= threshold else "false" for probability in probabilities]
        write.writerows(zip((row.id for row in scorable), probabilities, flags, strict=True))
        reject.writerows(row for row in chunk if isinstance(row, _Rejected))
        scored += len(scorable)
        churning += flags.count("true")
        rejected += len(chunk) - len(scorable)
    return _Counts(scored, churning, rejected)


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


def _encode(
    model: Model, header: list[str], rows: Iterator[Row | MalformedRow]
) -> Iterator[_Scorable | _Rejected]:
    features = [(feature, header.index(feature.name)) for feature in model.manifest.features]
    id_at = header.index(model.manifest.id) if model.manifest.id in header else None
    for row in rows:
        if isinstance(row, MalformedRow):
            yield _Rejected(row.line, row.message)
            continue
        record: dict[str, Any] = {
            feature.name: parse_cell(feature, row.cells[at]) for feature, at in features
        }
        try:
            encoded = model.encoder.encode([record]).rows[0]
        except InvalidRecordsError as error:
            yield _Rejected(row.line, "; ".join(f"{fault.column}: {fault.message}" for fault in error.faults))
        else:
            yield _Scorable(row.line, row.cells[id_at] if id_at is not None else str(row.line), encoded)


def _score(model: Model, rows: list[_Scorable]) -> list[float]:
    if not rows:
        return []
    matrix = to_matrix([row.row for row in rows], len(model.manifest.features))
    return publish(model.scorer.probabilities(matrix))


def _create(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written to: {error.strerror}") from None
