"""Scores one chunk, with the server's validator and graph, and writes what becomes of it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from churn_serving.batch.columns import Customers
from churn_serving.batch.lines import Lines, Mark
from churn_serving.batch.output import rows_of_csv
from churn_serving.batch.rows import read_csv, read_ndjson
from churn_serving.batch.scoring import Scoring
from churn_serving.batch.source import Chunk, Form, Layout
from churn_serving.model import Model
from churn_serving.scorer import Probabilities


class ScoredChunk(NamedTuple):
    """What becomes of a chunk, or of the first rows of it.

    Attributes:
        output: What `output.Output` writes: bytes, or an Arrow record batch.
        mark: Where the rest begins.
    """

    output: Any
    rejected_output: bytes
    scored: int
    churning: int
    rejected: int
    mark: Mark


def score_chunk(scoring: Scoring, layout: Layout, chunk: Chunk) -> Iterator[ScoredChunk]:
    """Score. Each row is in the output or, with its line and the reason, among the rejected.

    Raises:
        DataError: The chunk is not what the file's name says.
    """
    for customers, mark in _read(scoring.model, layout, chunk):
        output, flags = b"", np.zeros(0, dtype=bool)
        if customers.columns[0].rows:
            probabilities = scoring.probabilities(customers.columns)
            flags = probabilities >= scoring.threshold
            output = _write(layout, customers.ids, probabilities, flags)
        told = rows_of_csv(sorted(customers.rejected))
        yield ScoredChunk(output, told, len(flags), int(flags.sum()), len(customers.rejected), mark)


def _read(model: Model, layout: Layout, chunk: Chunk) -> Iterator[tuple[Customers, Mark]]:
    if not isinstance(chunk.content, Lines):
        from churn_serving.batch.parquet import read_parquet

        for customers, line in read_parquet(model.manifest, layout, chunk.content):
            yield customers, chunk.mark._replace(line=line)
    elif layout.form is Form.CSV:
        yield read_csv(model.manifest, layout, chunk.content), chunk.mark
    else:
        yield read_ndjson(model.manifest, model.encoder, chunk.content), chunk.mark


def _write(layout: Layout, ids: Any, probabilities: Probabilities, flags: npt.NDArray[np.bool_]) -> Any:
    if layout.output is Form.PARQUET:
        from churn_serving.batch.parquet_output import batch_of

        return batch_of(layout, ids, probabilities, flags)
    told = ids if isinstance(ids, list | tuple) else ids.to_pylist()
    rows = zip(told, probabilities.tolist(), flags.tolist(), strict=True)
    if layout.output is Form.NDJSON:
        encode = msgspec.json.Encoder().encode
        objects = ({layout.id: each, "probability": share, "churn": flag} for each, share, flag in rows)
        return b"".join(encode(each) + b"\n" for each in objects)
    return rows_of_csv((each, share, "true" if flag else "false") for each, share, flag in rows)
