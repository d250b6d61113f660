"""A JSON body straight to the model's rows: the short way, for bodies in which nothing is wrong.

A decoder made from the bundle's schema builds one struct per record; what it does not take goes the long way
(`records`, then `features`), which gives the same rows where it can and says what is wrong where it cannot.
"""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from churn_serving.bundle.schema import Boolean, Categorical, Feature, Manifest, Numeric
from churn_serving.features import MAX_ID, MAX_ID_LENGTH, UNSEEN, accepted_range, is_missing
from churn_serving.server.records import MAX_REASONS

_ID = Annotated[str, Meta(max_length=MAX_ID_LENGTH)] | Annotated[int, Meta(ge=-MAX_ID, le=MAX_ID)] | None

_EXPLAIN = bool | Annotated[int, Meta(ge=1, le=MAX_REASONS)]

_values_of = msgspec.structs.astuple


class Rows(NamedTuple):
    """Records as the model takes them.

    Attributes:
        packed: float32, rows by features, row after row.
        ids: The customer's id per record, None where it gave none.
        explain: Reasons per customer that are asked for: True as many as is usual, False none.
    """

    packed: bytes
    ids: list[str | int | None]
    explain: int = False


class RowDecoder:
    """Decodes one model's bodies. Stateless, so safe to share."""

    def __init__(self, manifest: Manifest, key: str, *, max_text: int) -> None:
        """Make the decoder.

        Args:
            manifest: Whose columns.
            key: What the list of records is called.
            max_text: Characters of one text at most.
        """
        features = manifest.features
        self._width = len(features)
        self._optional = len(manifest.accepted)
        self._encoders = [_encoder(feature) for feature in features]
        self._pack = struct.Struct(f"={self._width}f").pack
        self._id = self._width if manifest.id else None
        self._decode, self._decode_record = _decoders(manifest, key, max_text)

    def decode(self, body: bytes, *, max_records: int) -> Rows | None:
        """The rows of a body, or None where only the long way can tell what it means."""
        try:
            decoded = self._decode(body)
            records = decoded.records
            if not 0 < len(records) <= max_records:
                return None
            if decoded.explain is UNSET:
                return self._rows(records, colons=body.count(b":") - 1)
            rows = self._rows(records, colons=body.count(b":") - 2)
            return rows and rows._replace(explain=decoded.explain)
        except (ValueError, OverflowError, RecursionError):  # a number beyond float32 overflows
            return None

    def decode_record(self, text: bytes) -> Rows | None:
        """The row of one record that stands alone; None as `decode`."""
        try:
            return self._rows([self._decode_record(text)], colons=text.count(b":"))
        except (ValueError, OverflowError, RecursionError):
            return None

    def _rows(self, records: Sequence[Struct], *, colons: int) -> Rows | None:
        packed = []
        ids: list[str | int | None] = []
        keys = 0
        encoders, width, place = self._encoders, self._width, self._id
        for record in records:
            values = _values_of(record)
            packed.append(
                self._pack(*[encode(value) for encode, value in zip(encoders, values, strict=False)])
            )
            given = None if place is None else values[place]
            ids.append(None if given is UNSET else given)
            keys += width + self._optional - values[width:].count(UNSET)
        # Every key has its colon: more colons than keys lie in a text, or in a key that stands twice.
        if colons != keys:
            return None
        return Rows(packed[0] if len(packed) == 1 else b"".join(packed), ids)


_Decode = Callable[[bytes], Any]


def _decoders(manifest: Manifest, key: str, max_text: int) -> tuple[_Decode, _Decode]:
    """Of a whole body, and of one record."""
    # Named by number: a column may be called anything, an attribute may not.
    fields: list[Any] = [(f"c{n}", _type(feature, max_text)) for n, feature in enumerate(manifest.features)]
    names = [feature.name for feature in manifest.features]
    if manifest.id:
        fields.append((f"c{len(names)}", _ID | UnsetType, UNSET))
        names.append(manifest.id)
    for name in manifest.accepted:
        if name != manifest.id:
            fields.append((f"c{len(names)}", _any(max_text) | UnsetType, UNSET))
            names.append(name)
    try:
        renamed = {field[0]: name for field, name in zip(fields, names, strict=True)}
        record = msgspec.defstruct("Record", fields, rename=renamed, forbid_unknown_fields=True, gc=False)
        whole = msgspec.defstruct(
            "Body",
            [("records", list[record]), ("explain", _EXPLAIN | UnsetType, UNSET)],  # type: ignore[valid-type]
            rename={"records": key},
            forbid_unknown_fields=True,
            gc=False,
        )
    except (TypeError, ValueError):  # a column's name that a struct cannot carry, such as one with a quote
        return _nothing, _nothing
    return msgspec.json.Decoder(whole).decode, msgspec.json.Decoder(record).decode


def _nothing(_body: bytes) -> Any:
    raise ValueError


def _any(max_text: int) -> Any:
    """What a column that is not scored may hold; lists and objects go the long way."""
    return Annotated[str, Meta(max_length=max_text)] | int | float | bool | None


def _type(feature: Feature, max_text: int) -> Any:
    match feature:
        case Numeric():
            low, high = accepted_range(feature)
            kind: Any = Annotated[float, Meta(ge=low, le=high)]
        case Boolean():
            kind = bool
        case Categorical():
            kind = Annotated[str, Meta(max_length=max_text)]
    return kind | None if feature.nullable else kind


def _encoder(feature: Feature) -> Callable[[Any], float]:
    match feature:
        case Numeric(centre=centre, scale=scale):
            return lambda value: (value - centre) / scale if value is not None else math.nan
        case Boolean():
            return {True: 1.0, False: 0.0, None: math.nan}.__getitem__
        case Categorical():
            return _Codes(feature).__getitem__


class _Codes(dict[str | None, float]):
    def __init__(self, feature: Categorical) -> None:
        super().__init__({category: float(code) for code, category in enumerate(feature.categories)})
        self._missing = float(len(feature.categories))
        self._nullable = feature.nullable

    def __missing__(self, text: str | None) -> float:
        if text is not None and not is_missing(text):
            return self.get(text.strip(), UNSEEN)
        if self._nullable:
            return self._missing
        raise ValueError
