"""Customers of one chunk, read from CSV or NDJSON and encoded column by column; who cannot be is named."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from churn_serving.batch.columns import Customers, Rejected, join, read_texts, rows_but, split
from churn_serving.batch.lines import Lines
from churn_serving.batch.source import Layout
from churn_serving.bundle.schema import Manifest
from churn_serving.csvfile import MAX_CELL
from churn_serving.errors import DataError
from churn_serving.features import MAX_FAULTS, Encoder, Fault, InvalidRecordsError, to_matrix

_MAX_LINE = 1 << 20


def read_csv(manifest: Manifest, layout: Layout, lines: Lines) -> Customers:
    """Customers of some rows of a CSV file.

    Raises:
        DataError: The text is no CSV or not UTF-8.
    """
    header = layout.header or []
    kept, rejected = [], []
    for line, cells in _parse_csv(layout, lines):
        if len(cells) == len(header):
            kept.append((line, cells))
        else:
            rejected.append(Rejected(line, f"has {len(cells)} cells, the header {len(header)}"))
    cells_of = dict(zip(header, zip(*(cells for _, cells in kept), strict=True), strict=True)) if kept else {}
    columns, reasons = join(
        manifest.features,
        (read_texts(feature, cells_of.get(feature.name, ())) for feature in manifest.features),
    )
    ids: Sequence[Any] = cells_of.get(layout.id) or [line for line, _ in kept]
    if reasons:
        rejected += [Rejected(kept[row][0], why) for row, why in reasons.items()]
        good = rows_but(reasons, len(kept))
        columns, ids = [column.take(good) for column in columns], [ids[row] for row in good]
    return Customers(ids, columns, rejected)


def _parse_csv(layout: Layout, lines: Lines) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(MAX_CELL)
    before = lines.first - 1
    try:
        reader = csv.reader(io.StringIO(lines.text.decode(), newline=""), strict=True)
        for cells in reader:
            if cells:
                yield before + reader.line_num, cells
    except UnicodeDecodeError as error:
        line = before + lines.text.count(b"\n", 0, error.start)
        raise DataError(
            f"{layout.place} is not UTF-8 after line {line}; "
            f"convert it: iconv -f latin1 -t utf-8 {layout.place.name}"
        ) from None
    except csv.Error as error:
        line = before + max(reader.line_num - 1, 0)
        raise DataError(f"{layout.place} is no CSV after line {line}: {error}") from None


def read_ndjson(manifest: Manifest, encoder: Encoder, lines: Lines) -> Customers:
    """Customers of some lines, each a record as the server takes it."""
    records, rejected = [], []
    for number, text in enumerate(lines.text.split(b"\n"), start=lines.first):
        if not text.strip():
            continue
        if len(text) > _MAX_LINE:
            rejected.append(Rejected(number, "is longer than a customer can be: 1 MiB"))
            continue
        try:
            records.append((number, msgspec.json.decode(text)))
        except (ValueError, RecursionError):
            rejected.append(Rejected(number, "is no JSON"))
    ids: list[Any] = []
    rows: list[list[float]] = []
    for (number, record), outcome in zip(records, _encode(encoder, records), strict=True):
        if isinstance(outcome, Rejected):
            rejected.append(outcome)
        else:
            ids.append(number if manifest.id is None else record.get(manifest.id))
            rows.append(outcome)
    return Customers(ids, split(to_matrix(rows, len(manifest.features))), rejected)


def _encode(encoder: Encoder, records: Sequence[tuple[int, Any]]) -> list[list[float] | Rejected]:
    try:
        return list(encoder.encode([record for _, record in records]).rows)
    except InvalidRecordsError as error:
        faults = error.faults
    if len(faults) < MAX_FAULTS:  # else there may be more than it tells
        faulty = {fault.record for fault in faults}
        good = [record for at, record in enumerate(records) if at not in faulty]
        rows = iter(_encode(encoder, good))
        return [
            _reject(number, [fault for fault in faults if fault.record == at]) if at in faulty else next(rows)
            for at, (number, _) in enumerate(records)
        ]
    if len(records) == 1:
        return [_reject(records[0][0], faults)]
    half = len(records) // 2
    return _encode(encoder, records[:half]) + _encode(encoder, records[half:])


def _reject(line: int, faults: Sequence[Fault]) -> Rejected:
    reasons = (": ".join(part for part in (fault.column, fault.message) if part) for fault in faults)
    return Rejected(line, "; ".join(reasons))
