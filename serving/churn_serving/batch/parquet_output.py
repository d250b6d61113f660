"""Scores as a Parquet file that grows: each time it is settled it is whole, and can be gone on with.

A Parquet file ends in an account of its row groups, by their place in the file. So rows can follow: the next
row groups come behind that account, and one of all of them behind those. The older one stays, as a few bytes
that nothing points to: a run that is killed before the newer one is durable goes on from there.
"""

import mmap
import os
from typing import Any, BinaryIO

from churn_serving.batch.arrow import pa, pq
from churn_serving.batch.source import Layout

_GROUP_ROWS = 1 << 18


def schema_of(layout: Layout) -> Any:
    """The columns of the scores."""
    kind = pa.int64() if layout.numbered else pa.string()
    scores = [("probability", pa.float64()), ("churn", pa.bool_())]
    return pa.schema([(layout.id, kind), *(pa.field(*each, nullable=False) for each in scores)])


def batch_of(layout: Layout, ids: Any, probabilities: Any, flags: Any) -> Any:
    """Scores as `ParquetOutput` takes them, an Arrow record batch; ids are a list or an Arrow array."""
    schema = schema_of(layout)
    if not isinstance(ids, pa.Array):
        told = ids if layout.numbered else [None if each is None else str(each) for each in ids]
        ids = pa.array(told, schema.field(0).type)
    return pa.record_batch([ids, pa.array(probabilities), pa.array(flags)], schema=schema)


class ParquetOutput:
    """See `output.Output`.

    Args:
        layout: Which columns.
        file: Opened to append to.
        about: The account of the row groups that it holds; None where it is empty.
    """

    def __init__(self, layout: Layout, file: BinaryIO, about: Any = None) -> None:
        self._schema = schema_of(layout)
        self._file = file
        self._about = about
        self._writer: Any = None
        self._abouts: list[Any] = []
        self._held: list[Any] = []
        self._rows = 0

    def write(self, scores: Any) -> None:
        if not scores:
            return
        self._held.append(scores)
        self._rows += scores.num_rows
        if self._rows >= _GROUP_ROWS:
            self._write_group()

    def settle(self) -> None:
        self._write_group()
        if self._about is None:
            self._open()
        if self._writer is not None:
            self._write_about()

    def _write_group(self) -> None:
        if self._held:
            self._open().write_table(pa.Table.from_batches(self._held), row_group_size=self._rows)
            self._held, self._rows = [], 0

    def _open(self) -> Any:
        if self._writer is None:
            begin = self._file.seek(0, os.SEEK_END)
            sink = pa.PythonFile(_Behind(self._file, begin), "w")
            self._writer = pq.ParquetWriter(
                sink, self._schema,
                use_dictionary=False, compression="snappy", metadata_collector=self._abouts,
            )  # fmt: skip
            if begin:
                _count_from(sink, self._file, begin)
        return self._writer

    def _write_about(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        self._writer.close()
        self._writer = None
        latest = self._abouts.pop()
        if self._about is None:
            self._about = latest
            return
        self._about.append_row_groups(latest)
        self._file.truncate(end)
        self._about.write_metadata_file(pa.PythonFile(self._file, "w"))
        self._file.seek(0, os.SEEK_END)


class _Behind:
    """Takes what is written from byte `begin` on; what is before that is in the file already."""

    closed = False

    def __init__(self, file: BinaryIO, begin: int) -> None:
        self._file = file
        self._skip = begin

    def write(self, data: Any) -> int:
        if self._skip:
            self._skip -= len(data)
        else:
            self._file.write(data)
        return len(data)

    def flush(self) -> None:
        """The file is flushed where it is kept."""


def _count_from(sink: Any, file: BinaryIO, begin: int) -> None:
    """Let `sink` count from `begin`: a writer goes on only with what it has begun, as it thinks it did here.

    What it is given for the bytes before is the file itself, as a map that nobody reads.
    """
    there = mmap.mmap(file.fileno(), begin, access=mmap.ACCESS_READ)
    sink.write(memoryview(there)[sink.tell() :])


def read_about(file: BinaryIO) -> Any:
    """The account that `file` ends with; None where it is no Parquet file. The file is at its end then."""
    try:
        about = pq.read_metadata(pa.PythonFile(file, "r"))
    except (pa.ArrowException, OSError):
        return None
    file.seek(0, os.SEEK_END)
    return about
