"""How much a JSON body may hold, and how deep: a few bytes of it become a hundred in memory.

What is within `max_body_bytes` can still be five million empty lists, or a text that no customer has.
"""

import re
from collections.abc import Sequence
from typing import Any

from churn_serving.features import MAX_FAULTS, Fault, shown
from churn_serving.server.http import RequestError

# A last quote that is never closed takes the rest with it: looked for again from each quote, it would take
# hours.
_TEXTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_SIGNS = (b",", b":", b"[", b"{")


def check_values(body: bytes, most: int) -> None:
    """Refuse a body of more values and keys, before any of them is made.

    Raises:
        RequestError: 413.
    """
    if _count(body) > most and _count(_TEXTS.sub(b"", body)) > most:
        message = f"the body holds more than {most} values and keys; send fewer records at once"
        raise RequestError(413, "too_many_values", message)


def check_nesting(decoded: Any, most: int) -> None:
    """Refuse lists and objects that lie more than `most` deep in each other.

    Raises:
        RequestError: 400.
    """
    level = [decoded]
    for _ in range(most):
        level = [child for each in level for child in _children(each) if child.__class__ in {dict, list}]
        if not level:
            return
    raise nested_too_deeply()


def check_texts(records: Sequence[Any], most: int) -> None:
    """Refuse texts of more than `most` characters, wherever they are.

    Raises:
        RequestError: 422, with the first records and columns.
    """
    faults = [
        Fault(index, shown(column), "invalid", f"a text has more than {most} characters")
        for index, record in enumerate(records)
        if isinstance(record, dict)
        for column, value in record.items()
        if value.__class__ in {str, list, dict} and _has_longer(value, most)
    ]
    if faults:
        raise text_too_long(most, faults)


def nested_too_deeply() -> RequestError:
    """What `check_nesting` says."""
    return RequestError(400, "nested_too_deeply", "the body is nested too deeply")


def text_too_long(most: int, faults: Sequence[Fault] = ()) -> RequestError:
    """What `check_texts` says."""
    message = f"a text is longer than {most} characters, the most that is read"
    return RequestError(422, "text_too_long", message, faults[:MAX_FAULTS])


def _count(body: bytes) -> int:
    return sum(map(body.count, _SIGNS))


def _children(each: Any) -> Any:
    if isinstance(each, dict):
        return each.values()
    return each if isinstance(each, list) else ()


def _has_longer(value: Any, most: int) -> bool:
    if isinstance(value, str):
        return len(value) > most
    return isinstance(value, list | dict) and any(_has_longer(child, most) for child in _children(value))
