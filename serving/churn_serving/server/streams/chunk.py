"""A part of a stream: its records as the model takes them, and what is wrong with the others."""

from typing import Any, NamedTuple

from churn_serving.features import InvalidRecordsError, to_matrix
from churn_serving.routing import Route
from churn_serving.server.bounds import check_nesting, check_texts
from churn_serving.server.http import RequestError
from churn_serving.server.records import decode_record
from churn_serving.server.rows import RowDecoder
from churn_serving.server.streams.lines import Line
from churn_serving.settings import Settings


class Entry(NamedTuple):
    """One record, in its place.

    Attributes:
        number: Of its line or row, from 1.
        id: The customer's, where the record gives one.
        error: Why it is not scored; None where it is.
    """

    number: int
    id: str | int | None
    error: RequestError | None = None


class Chunk(NamedTuple):
    """Some records of a stream.

    Attributes:
        entries: In the order of the stream.
        packed: float32, row after row, of those without an error.
    """

    entries: list[Entry]
    packed: bytes


def read_lines(lines: list[Line], route: Route, decoder: RowDecoder, settings: Settings) -> Chunk:
    """Decode and encode each line, by the validator of every other request."""
    entries, packed = [], []
    for line in lines:
        try:
            row, customer = _read(line, route, decoder, settings)
        except RequestError as error:
            entries.append(Entry(line.number, None, error))
        else:
            entries.append(Entry(line.number, customer))
            packed.append(row)
    return Chunk(entries, b"".join(packed))


def _read(
    line: Line, route: Route, decoder: RowDecoder, settings: Settings
) -> tuple[bytes, str | int | None]:
    if line.text is None:
        raise RequestError(413, "line_too_long", f"the line is longer than {settings.max_line_bytes} bytes")
    rows = decoder.decode_record(line.text)
    if rows is not None:
        return rows.packed, rows.ids[0]
    record = decode_record(line.text)
    check_nesting([record], settings.max_nesting + 1)
    check_texts([record], settings.max_text_length)
    return encode_record(route, record)


def encode_record(route: Route, record: Any) -> tuple[bytes, str | int | None]:
    """One record as the model takes it, and its customer's id.

    Raises:
        RequestError: It does not fit.
    """
    try:
        encoded = route.model.encoder.encode([record])
    except InvalidRecordsError as error:
        message = "the record does not fit the model's columns"
        raise RequestError(422, "invalid_records", message, error.faults) from None
    return to_matrix(encoded.rows, len(route.model.manifest.features)).tobytes(), encoded.ids[0]
