"""Scores one chunk, with the server's validator and graph, and writes what becomes of it."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from churn_serving.batch.columns import Customers
from churn_serving.batch.lines import Lines, Mark
from churn_serving.batch.rows import read_csv, read_ndjson
from churn_serving.batch.scoring import Scoring
from churn_serving.batch.source import Chunk, Form, Layout
from churn_serving.model import Model
from churn_serving.scorer import Probabilities

_REJECTED_HEADER = b"line,reason\n"


class ScoredChunk(NamedTuple):
    """What becomes of a chunk: bytes for both files, counts of rows, and where the next one begins."""

    output: bytes
    rejected_output: bytes
    scored: int
    churning: int
    rejected: int
    mark: Mark


def begin_files(layout: Layout) -> tuple[bytes, bytes]:
    """What output and rejected rows' file begin with."""
    if layout.output is Form.NDJSON:
        return b"", _REJECTED_HEADER
    if layout.output is Form.CSV:
        return _rows_of_csv([(layout.id, "probability", "churn")]), _REJECTED_HEADER
    from churn_serving.batch.parquet import schema_of

    return bytes(schema_of(layout).serialize()), _REJECTED_HEADER


def score_chunk(scoring: Scoring, layout: Layout, chunk: Chunk) -> ScoredChunk:
    """Score. Each row is in the output or, with its line and the reason, among the rejected.

    Raises:
        DataError: The chunk is not what the file's name says.
    """
    outputs, rejected, scored, churning = [], [], 0, 0
    for customers in _read(scoring.model, layout, chunk):
        if customers.columns[0].rows:
            probabilities = scoring.probabilities(customers.columns)
            flags = probabilities >= scoring.threshold
            outputs.append(_write(layout, customers.ids, probabilities, flags))
            scored += len(flags)
            churning += int(flags.sum())
        rejected += customers.rejected
    told = _rows_of_csv(sorted(rejected))
    return ScoredChunk(b"".join(outputs), told, scored, churning, len(rejected), chunk.mark)


def _read(model: Model, layout: Layout, chunk: Chunk) -> Iterator[Customers]:
    if not isinstance(chunk.content, Lines):
        from churn_serving.batch.parquet import read_parquet

        yield from read_parquet(model.manifest, layout, chunk.content)
    elif layout.form is Form.CSV:
        yield read_csv(model.manifest, layout, chunk.content)
    else:
        yield read_ndjson(model.manifest, model.encoder, chunk.content)


def _write(layout: Layout, ids: Any, probabilities: Probabilities, flags: npt.NDArray[np.bool_]) -> bytes:
    if layout.output is Form.PARQUET:
        from churn_serving.batch.parquet import write_batch

        return write_batch(layout, ids, probabilities, flags)
    told = ids if isinstance(ids, list | tuple) else ids.to_pylist()
    rows = zip(told, probabilities.tolist(), flags.tolist(), strict=True)
    if layout.output is Form.NDJSON:
        encode = msgspec.json.Encoder().encode
        objects = ({layout.id: each, "probability": share, "churn": flag} for each, share, flag in rows)
        return b"".join(encode(each) + b"\n" for each in objects)
    return _rows_of_csv((each, share, "true" if flag else "false") for each, share, flag in rows)


def _rows_of_csv(rows: Iterable[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
