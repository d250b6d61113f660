"""A JSON body to its list of records: strict, and without an opinion on columns (`features` has that)."""

import json
from typing import Any, NamedTuple

import msgspec

from churn_serving.server.bounds import nested_too_deeply
from churn_serving.server.http import RequestError

MAX_REASONS = 1000

_decode = msgspec.json.Decoder().decode


class Asked(NamedTuple):
    """What a body asks.

    Attributes:
        explain: Reasons per customer: True as many as is usual, False none.
    """

    records: list[Any]
    explain: int = False


def decode_records(body: bytes, key: str, *, max_records: int) -> Asked:
    """The list under `key`, and `explain` where it is given; there must be no other key.

    Args:
        body: JSON in UTF-8. NaN, Infinity, lone surrogates and duplicate keys are refused.
        key: `records`, or `instances` in the V1 protocol.
        max_records: More are refused.

    Raises:
        RequestError: 400 malformed, 422 not such an object, 413 too many.
    """
    decoded = _decode_json(body)
    if not isinstance(decoded, dict) or key not in decoded or (len(decoded) > 1 and not _explains(decoded)):
        message = f'expected a JSON object: {{"{key}": [{{column: value, …}}, …]}}, with "explain" or without'
        raise RequestError(422, "invalid_request", message)
    records = decoded[key]
    if not isinstance(records, list) or not records:
        raise RequestError(422, "invalid_request", f"{key} must be a list of at least one record")
    if len(records) > max_records:
        message = f"{len(records)} records in one request; at most {max_records} are allowed"
        raise RequestError(413, "too_many_records", message)
    keys = sum(len(record) for record in records if isinstance(record, dict))
    refuse_duplicate_keys(body, len(decoded) + keys)
    return Asked(records, decoded.get("explain", False))


def decode_record(text: bytes) -> Any:
    """One record, alone.

    Raises:
        RequestError: 400 malformed, 422 a number that no float holds.
    """
    decoded = _decode_json(text)
    refuse_duplicate_keys(text, len(decoded) if isinstance(decoded, dict) else 0)
    return decoded


def _decode_json(text: bytes) -> Any:
    try:
        return _decode(text)
    except msgspec.ValidationError:
        raise RequestError(422, "number_out_of_range", "a number is too large for a 64-bit float") from None
    except RecursionError:
        raise nested_too_deeply() from None
    except ValueError as error:
        raise RequestError(400, "malformed_json", malformed(error)) from None


def _explains(decoded: dict[str, Any]) -> bool:
    if "explain" not in decoded or len(decoded) > 2:
        return False
    explain = decoded["explain"]
    if isinstance(explain, bool) or (isinstance(explain, int) and 1 <= explain <= MAX_REASONS):
        return True
    message = f"explain must be true, false or a number of reasons, 1 to {MAX_REASONS}"
    raise RequestError(422, "invalid_request", message)


def malformed(error: Exception) -> str:
    """What the decoder did not like, for the client."""
    # The decoder's message names a position, never a value.
    return str(error) if isinstance(error, msgspec.DecodeError) else "the body is not UTF-8"


def refuse_duplicate_keys(body: bytes, keys: int) -> None:
    """A key that stands twice would silently lose one of its values.

    Every key has its colon: as many colons as the `keys` that were read means that none stands twice. More
    may also lie in texts or in nested values, so only then is the body read again, by a slower parser that
    shows the pairs.

    Raises:
        RequestError: 400.
    """
    if body.count(b":") == keys:
        return
    try:
        # Numbers stay texts: Python makes no integer of thousands of digits.
        json.loads(body, object_pairs_hook=_check_pairs, parse_int=str, parse_float=str)
    except RecursionError:
        raise nested_too_deeply() from None


def _check_pairs(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise RequestError(400, "duplicate_key", "an object names the same key twice")
