"""Customers as Arrow's record batches, and answers as such. Imported where a stream is one."""

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import nanoarrow as na
from nanoarrow.ipc import StreamWriter

from churn_serving.bundle.schema import Manifest
from churn_serving.features import InvalidRecordsError, shown, to_matrix
from churn_serving.routing import Route
from churn_serving.server.accept import ARROW
from churn_serving.server.bounds import check_texts
from churn_serving.server.http import RequestError
from churn_serving.server.streams.arrow_columns import (
    BROKEN,
    Column,
    read_batch,
    read_dictionary,
    read_schema,
)
from churn_serving.server.streams.arrow_wire import END, Kind, Message, Messages, malformed
from churn_serving.server.streams.chunk import Chunk, Entry, encode_record
from churn_serving.server.streams.forms import Answers, Form, error_of, tell
from churn_serving.settings import Settings

_PART_ROWS = 1000
_MAX_DICTIONARIES = 4 << 20  # bytes, of all that a stream brings


class Batch(NamedTuple):
    """One batch, still packed, and the dictionaries as they were when it came.

    Attributes:
        first: The number of its first row, from 1.
    """

    first: int
    content: bytes
    dictionaries: Mapping[int, Sequence[Any]]


class Part(NamedTuple):
    """Some rows of a batch as records; `first` as in a `Batch`."""

    first: int
    records: list[dict[str, Any]]


class ArrowSource:
    """Reads a stream of batches: cut on the event loop, unpacked and encoded elsewhere."""

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        self._messages = Messages(settings.max_body_bytes)
        self._manifest, self._settings = manifest, settings
        self._columns: list[Column] | None = None
        self._kinds: dict[int, Column] = {}
        self._dictionaries: dict[int, Sequence[Any]] = {}
        self._dictionary_bytes = self._dictionary_values = 0
        self._rows = 0

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return self._messages.held

    def feed(self, piece: bytes) -> Iterator[Batch]:
        """The batches that are whole now.

        Raises:
            RequestError: The bytes are no such stream, or too many for one message.
        """
        for message in self._messages.feed(piece):
            self._check_rows(message.rows)
            if message.kind is Kind.BATCH:
                yield self._batch(message)
                continue
            try:
                (self._begin if message.kind is Kind.SCHEMA else self._keep)(message)
            except BROKEN:
                raise malformed("its schema or a dictionary cannot be read") from None

    def end(self) -> Iterator[Batch]:
        """Raises: RequestError: 400, the stream is cut short."""
        self._messages.end()
        if self._columns is None:
            raise malformed("it has no schema")
        yield from ()

    def split(self, batch: Batch) -> list[Part]:
        """The batch's rows.

        Raises:
            RequestError: 400, it cannot be read.
        """
        try:
            read = read_batch(batch.content, self._columns or (), batch.dictionaries)
        except BROKEN:
            raise malformed("a batch cannot be read") from None
        named = zip(self._columns or (), read, strict=True)
        columns = {column.name: values for column, values in named if column.name in self._wanted}
        rows = zip(*columns.values(), strict=True)
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        return [
            Part(batch.first + at, records[at : at + _PART_ROWS]) for at in range(0, len(records), _PART_ROWS)
        ]

    def encode(self, part: Part, route: Route) -> Chunk:
        """The rows as the model takes them, by the validator of every other request."""
        try:
            check_texts(part.records, self._settings.max_text_length)
            encoded = route.model.encoder.encode(part.records)
        except (InvalidRecordsError, RequestError):
            return self._encode_each(part, route)
        entries = [Entry(part.first + at, customer) for at, customer in enumerate(encoded.ids)]
        matrix = to_matrix(encoded.rows, len(route.model.manifest.features))
        return Chunk(entries, matrix.tobytes())

    def _encode_each(self, part: Part, route: Route) -> Chunk:
        entries, packed = [], []
        for number, record in enumerate(part.records, start=part.first):
            try:
                check_texts([record], self._settings.max_text_length)
                row, customer = encode_record(route, record)
            except RequestError as error:
                entries.append(Entry(number, None, error))
            else:
                entries.append(Entry(number, customer))
                packed.append(row)
        return Chunk(entries, b"".join(packed))

    @property
    def _wanted(self) -> set[str]:
        names = {feature.name for feature in self._manifest.features}
        return names | ({self._manifest.id} if self._manifest.id else set())

    def _check_rows(self, rows: int) -> None:
        most = min(self._settings.max_records, self._settings.max_values // len(self._manifest.features))
        if not 0 <= rows <= most:
            text = f"an Arrow batch has more than {most} rows; write smaller ones"
            raise RequestError(413, "too_many_records", text)

    def _begin(self, message: Message) -> None:
        if self._columns is not None:
            raise malformed("it has two schemas")
        columns, self._kinds = read_schema(message.content)
        self._check_names([column.name for column in columns])
        self._columns = columns

    def _check_names(self, names: Sequence[str]) -> None:
        features = [feature.name for feature in self._manifest.features]
        known = {*features, *self._manifest.accepted}
        for problem, wrong in (
            ("columns are missing", [name for name in features if name not in names]),
            ("the model has no such columns", [name for name in names if name not in known]),
            # Any: columns of the same bytes are values without end.
            ("columns are given twice", [name for name, count in Counter(names).items() if count > 1]),
        ):
            if wrong:
                told = ", ".join(repr(shown(name)) for name in wrong[:20])
                raise RequestError(422, "invalid_records", f"{problem}: {told}")

    def _keep(self, message: Message) -> None:
        before = self._dictionaries.get(message.dictionary, ()) if message.adds else ()
        self._check_dictionaries(len(message.content), len(before) + message.rows)
        values = read_dictionary(message.content, self._kinds[message.dictionary])
        # A new one: batches that wait keep what they came with.
        self._dictionaries = self._dictionaries | {message.dictionary: [*before, *values]}

    def _check_dictionaries(self, more_bytes: int, more_values: int) -> None:
        """What is added to is copied, and counted again: else a few bytes are a million values each time."""
        self._dictionary_bytes += more_bytes
        self._dictionary_values += more_values
        for found, most, unit in (
            (self._dictionary_bytes, _MAX_DICTIONARIES, "bytes"),
            (self._dictionary_values, self._settings.max_values, "values"),
        ):
            if found > most:
                text = f"the stream's dictionaries have more than {most} {unit}; send texts as they are"
                raise RequestError(413, "too_many_values", text)

    def _batch(self, message: Message) -> Batch:
        if self._columns is None:
            raise malformed("a batch comes before the schema")
        first = self._rows + 1
        self._rows += message.rows
        return Batch(first, message.content, self._dictionaries)


_ANSWERS = {
    "line": na.int64(),
    "id": na.string(),
    "prediction_id": na.string(),
    "probability": na.float64(),
    "churn": na.bool_(),
    "threshold": na.float64(),
    "error": na.string(),
}


def form() -> Form:
    """Answers as batches. Ids are texts, whatever they were; `line` counts rows from 1."""
    return Form(ARROW, _pack([], schema=True), lambda answers: _pack(answers, schema=False), END)


def _pack(answers: Answers, *, schema: bool) -> bytes:
    rows = [_row(entry, prediction) for entry, prediction in answers]
    columns = [na.c_array([row[at] for row in rows], kind) for at, kind in enumerate(_ANSWERS.values())]
    batch = na.c_array_from_buffers(na.struct(_ANSWERS), len(rows), [None], children=columns)
    out = io.BytesIO()
    writer = StreamWriter.from_writable(out)
    if schema:
        writer.write_stream(na.c_array_stream(batch), write_schema=True)
    else:
        writer.write_array(batch, write_schema=False)
    writer.release()
    return out.getvalue()


def _row(entry: Entry, prediction: Any) -> tuple[Any, ...]:
    if prediction is None:
        return (entry.number, None, None, None, None, None, tell(error_of(entry)))
    given = None if entry.id is None else str(entry.id)
    scored = (prediction.probability, prediction.churn, prediction.threshold)
    return (entry.number, given, prediction.prediction_id, *scored, None)
