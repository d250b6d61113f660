"""A JSON body to its list of records: strict, and without an opinion on columns (`features` has that)."""

import json
from typing import Any

import msgspec

from churn_serving.server.http import RequestError

_decode = msgspec.json.Decoder().decode


def decode_records(body: bytes, key: str, *, max_records: int) -> list[Any]:
    """The list under `key`, which must be the only one.

    Args:
        body: JSON in UTF-8. NaN, Infinity, lone surrogates and duplicate keys are refused.
        key: `records`, or `instances` in the V1 protocol.
        max_records: More are refused.

    Raises:
        RequestError: 400 malformed, 422 not such an object, 413 too many.
    """
    try:
        decoded = _decode(body)
    except msgspec.ValidationError:
        raise RequestError(422, "number_out_of_range", "a number is too large for a 64-bit float") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "malformed_json", _malformed(error)) from None
    if not isinstance(decoded, dict) or decoded.keys() != {key}:
        message = f'expected a JSON object with one key: {{"{key}": [{{column: value, …}}, …]}}'
        raise RequestError(422, "invalid_request", message)
    records = decoded[key]
    if not isinstance(records, list) or not records:
        raise RequestError(422, "invalid_request", f"{key} must be a list of at least one record")
    if len(records) > max_records:
        message = f"{len(records)} records in one request; at most {max_records} are allowed"
        raise RequestError(413, "too_many_records", message)
    _refuse_duplicate_keys(body, records)
    return records


def _malformed(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the body is nested too deeply"
    # The decoder's message names a position, never a value.
    return str(error) if isinstance(error, msgspec.DecodeError) else "the body is not UTF-8"


def _refuse_duplicate_keys(body: bytes, records: list[Any]) -> None:
    """A key that stands twice would silently lose one of its values.

    Every key has its colon: as many colons as keys means that none stands twice. More may also lie in texts
    or in nested values, so only then is the body read again, by a slower parser that shows the pairs.
    """
    keys = 1 + sum(len(record) for record in records if isinstance(record, dict))
    if body.count(b":") == keys:
        return
    try:
        json.loads(body, object_pairs_hook=_check_pairs)
    except RecursionError:
        raise RequestError(400, "malformed_json", "the body is nested too deeply") from None


def _check_pairs(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise RequestError(400, "duplicate_key", "an object names the same key twice")
