"""How answers are written, record by record: NDJSON or CSV, with an error where a record has none."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from churn_serving.features import Fault
from churn_serving.server.accept import ARROW, CSV, NDJSON
from churn_serving.server.csv_answers import COLUMNS, row_of, write_rows
from churn_serving.server.http import RequestError
from churn_serving.server.scoring import Prediction
from churn_serving.server.streams.chunk import Entry

Answers = Sequence[tuple[Entry, Prediction | None]]
"""Each record of a chunk and what is predicted of it; None where its entry says why not."""


class Form(Struct, frozen=True):
    """One way to write answers.

    Attributes:
        head: What comes before all answers.
        write: Writes those of a chunk.
        tail: What comes after all.
    """

    content_type: bytes
    head: bytes
    write: Callable[[Answers], bytes]
    tail: bytes = b""


class _Wrong(Struct):
    code: str
    message: str
    details: list[dict[str, Any]]


class _WrongLine(Struct):
    line: int
    error: _Wrong


_encode_lines = msgspec.json.Encoder().encode_lines


def _ndjson(answers: Answers) -> bytes:
    return _encode_lines([prediction or _wrong_line(entry) for entry, prediction in answers])


def _wrong_line(entry: Entry) -> _WrongLine:
    error = error_of(entry)
    details = [_detail(fault) for fault in error.details]
    return _WrongLine(entry.number, _Wrong(error.code, error.message, details))


def _detail(fault: Fault) -> dict[str, Any]:
    return {"column": fault.column, "problem": fault.problem, "message": fault.message}


def _csv(answers: Answers) -> bytes:
    rows: list[tuple[Any, ...]] = []
    for entry, prediction in answers:
        if prediction is not None:
            rows.append((entry.number, *row_of(prediction), ""))
        else:
            rows.append((entry.number, *[""] * len(COLUMNS), tell(error_of(entry))))
    return write_rows(rows)


def tell(error: RequestError) -> str:
    """An error in one text."""
    told = [": ".join(part for part in (fault.column, fault.message) if part) for fault in error.details]
    return "; ".join([error.message, *told])


def error_of(entry: Entry) -> RequestError:
    """Why there is no prediction."""
    if entry.error is None:
        raise ValueError("an entry without an error has a prediction")
    return entry.error


_FORMS: Mapping[bytes, Form] = {
    NDJSON: Form(NDJSON, b"", _ndjson),
    CSV: Form(CSV, write_rows([("line", *COLUMNS, "error")]), _csv),
}


def form_of(media_type: bytes) -> Form:
    """The form of one of the media types that streams have."""
    if media_type == ARROW:
        from churn_serving.server.streams.arrow import form

        return form()
    return _FORMS[media_type]
