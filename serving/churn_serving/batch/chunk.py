"""Scores one chunk of rows, with the validator and the encoder of the server, and writes it as text."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from churn_serving.batch.source import Form, Line, RawRow
from churn_serving.csvfile import MalformedRow, Row
from churn_serving.features import MAX_FAULTS, Fault, InvalidRecordsError, parse_cell, to_matrix
from churn_serving.model import Model
from churn_serving.scorer import publish

LINE = "line"


class Chunk(NamedTuple):
    """Rows of one file and how its scores are to be written."""

    header: list[str] | None
    form: Form
    rows: list[Row]
    malformed: list[MalformedRow]
    lines: list[Line]


class ScoredChunk(NamedTuple):
    """What becomes of a chunk: text for both files, and counts of rows."""

    output: bytes
    rejected_output: bytes
    rows: int
    scored: int
    churning: int
    rejected: int


class _Record(NamedTuple):
    line: int
    id: str | int | None
    values: Any


class _Rejected(NamedTuple):
    line: int
    reason: str


def sort_rows(header: list[str] | None, form: Form, rows: Sequence[RawRow]) -> Chunk:
    """A chunk of the rows as they come."""
    return Chunk(
        header,
        form,
        [row for row in rows if isinstance(row, Row)],
        [row for row in rows if isinstance(row, MalformedRow)],
        [row for row in rows if isinstance(row, Line)],
    )


def id_name(model: Model, header: list[str] | None) -> str:
    """What the id is called in the output: the line stands for it where there is none."""
    name = model.manifest.id
    return LINE if name is None or (header is not None and name not in header) else name


def score_chunk(model: Model, threshold: float, chunk: Chunk) -> ScoredChunk:
    """Score. Each row is in the output or, with its line and the reason, among the rejected."""
    records, rejected = _read(model, chunk)
    scorable, rows = [], []
    for record, outcome in zip(records, _encode(model, records), strict=True):
        if isinstance(outcome, _Rejected):
            rejected.append(outcome)
        else:
            scorable.append(record)
            rows.append(outcome)
    probabilities = _score(model, rows)
    flags = [probability >= threshold for probability in probabilities]
    return ScoredChunk(
        _write(id_name(model, chunk.header), chunk.form, scorable, probabilities, flags),
        _rows_of_csv(sorted(rejected)),
        len(chunk.rows) + len(chunk.malformed) + len(chunk.lines),
        len(scorable),
        sum(flags),
        len(rejected),
    )


def _read(model: Model, chunk: Chunk) -> tuple[list[_Record], list[_Rejected]]:
    rejected = [_Rejected(row.line, row.message) for row in chunk.malformed]
    if chunk.header is not None:
        return list(_read_cells(model, chunk.header, chunk.rows)), rejected
    records = []
    for line in chunk.lines:
        try:
            values = msgspec.json.decode(line.text)
        except (ValueError, RecursionError):
            rejected.append(_Rejected(line.line, "is no JSON"))
            continue
        given = values.get(model.manifest.id) if isinstance(values, dict) else None
        records.append(_Record(line.line, line.line if model.manifest.id is None else given, values))
    return records, rejected


def _read_cells(model: Model, header: list[str], rows: Sequence[Row]) -> Iterator[_Record]:
    names = [feature.name for feature in model.manifest.features]
    columns = []
    for feature in model.manifest.features:
        at = header.index(feature.name)
        cells = [row.cells[at] for row in rows]
        parsed = {cell: parse_cell(feature, cell) for cell in set(cells)}  # most repeat
        columns.append([parsed[cell] for cell in cells])
    name = id_name(model, header)
    id_at = header.index(name) if name in header else None
    for row, values in zip(rows, zip(*columns, strict=True), strict=True):
        told = row.line if id_at is None else row.cells[id_at]
        yield _Record(row.line, told, dict(zip(names, values, strict=True)))


def _encode(model: Model, records: Sequence[_Record]) -> list[list[float] | _Rejected]:
    try:
        return list(model.encoder.encode([record.values for record in records]).rows)
    except InvalidRecordsError as error:
        faults = error.faults
    if len(faults) < MAX_FAULTS:  # else there may be more than it tells
        faulty = {fault.record for fault in faults}
        rows = iter(_encode(model, [record for at, record in enumerate(records) if at not in faulty]))
        return [
            _reject(record, [fault for fault in faults if fault.record == at]) if at in faulty else next(rows)
            for at, record in enumerate(records)
        ]
    if len(records) == 1:
        return [_reject(records[0], faults)]
    half = len(records) // 2
    return _encode(model, records[:half]) + _encode(model, records[half:])


def _reject(record: _Record, faults: Sequence[Fault]) -> _Rejected:
    reasons = (": ".join(part for part in (fault.column, fault.message) if part) for fault in faults)
    return _Rejected(record.line, "; ".join(reasons))


def _score(model: Model, rows: list[list[float]]) -> list[float]:
    if not rows:
        return []
    return publish(model.scorer.probabilities(to_matrix(rows, len(model.manifest.features))))


def _write(
    name: str, form: Form, records: Sequence[_Record], probabilities: list[float], flags: list[bool]
) -> bytes:
    rows = zip(records, probabilities, flags, strict=True)
    if form is Form.NDJSON:
        encode = msgspec.json.Encoder().encode
        objects = ({name: row.id, "probability": share, "churn": flag} for row, share, flag in rows)
        return b"".join(encode(each) + b"\n" for each in objects)
    return _rows_of_csv((row.id, share, "true" if flag else "false") for row, share, flag in rows)


def _rows_of_csv(rows: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
