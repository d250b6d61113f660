"""What form a body has, and in what form its client wants the answer."""

from collections.abc import Sequence

from churn_serving.server.http import Header

CSV = b"text/csv"
NDJSON = b"application/x-ndjson"
ARROW = b"application/vnd.apache.arrow.stream"
_ALIASES = {b"application/ndjson": NDJSON, b"application/jsonl": NDJSON, b"application/jsonlines": NDJSON}


def content_type_of(headers: Sequence[Header]) -> bytes:
    """The body's media type, without parameters; empty where it is not said."""
    for name, value in headers:
        if name == b"content-type":
            media = value.partition(b";")[0].strip().lower()
            return _ALIASES.get(media, media)
    return b""


def wants_table(headers: Sequence[Header]) -> bool:
    """Whether CSV is named at all; `choose_form` says whether it is liked best."""
    return any(name == b"accept" and b"csv" in value.lower() for name, value in headers)


def choose_form(headers: Sequence[Header], offered: Sequence[bytes]) -> bytes:
    """The offered media type that the client likes best; the first where it says nothing that helps.

    Exact names count, with their quality (RFC 9110 §12.5.1); of equals the one that the client names first.
    """
    best, best_quality = offered[0], 0.0
    for name, value in headers:
        if name != b"accept":
            continue
        for part in value.split(b","):
            media, _, parameters = part.strip().lower().partition(b";")
            media = _ALIASES.get(media.strip(), media.strip())
            quality = _quality(parameters)
            if quality > best_quality and (media in offered or media == b"*/*"):
                best, best_quality = offered[0] if media == b"*/*" else media, quality
    return best


def _quality(parameters: bytes) -> float:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.strip().partition(b"=")
        if name == b"q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
