"""Customer records to the model's float32 matrix: one validator and encoder for training and serving.

Numbers are centred and scaled in float64 before they become float32: 50,000,000 ± 1,000 would lose its
spread else.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from churn_serving.bundle.schema import Boolean, Categorical, Feature, Manifest, Numeric

Matrix = npt.NDArray[np.float32]
Cell = float | bool | str | None

# What people and tools write where a value is missing. "None" is not among them: it is a real answer in
# many columns.
MISSING = frozenset({"", "na", "n/a", "nan", "null"})
UNSEEN = -1.0
MAX_FAULTS = 20
MAX_ID_LENGTH = 256
MAX_ID = (1 << 63) - 1

FLOAT32_MAX = float(np.finfo(np.float32).max)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


class Fault(NamedTuple):
    """What is wrong with one column of one record. Holds no value of the customer's.

    Attributes:
        record: Position in the request, from 0.
        column: The column's name, shortened; empty where the whole record is meant.
        problem: missing, unexpected or invalid.
        message: For people.
    """

    record: int
    column: str
    problem: str
    message: str


class InvalidRecordsError(ValueError):
    """At least one record breaks the schema.

    Attributes:
        faults: At most 20, in the order of the records.
    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults[0].message)
        self.faults = faults


class EncodedRecords(NamedTuple):
    """Records as the model takes them.

    Attributes:
        rows: One list per record, in the order of the manifest's features.
        ids: The customer's id per record, None where it gave none.
    """

    rows: list[list[float]]
    ids: list[str | int | None]


class _InvalidValueError(ValueError):
    """One value is refused; the message says what was expected."""


class Encoder:
    """Encodes records by the features of one manifest. Stateless, so safe to share."""

    def __init__(self, manifest: Manifest) -> None:
        self._columns = [(feature.name, _encoder_of(feature)) for feature in manifest.features]
        self._names = frozenset(feature.name for feature in manifest.features)
        self._accepted = frozenset(manifest.accepted)
        self._id = manifest.id

    def encode(self, records: Sequence[Any]) -> EncodedRecords:
        """Validate and encode.

        Raises:
            InvalidRecordsError: Names every wrong, missing and extra column of every record, up to 20.
        """
        rows: list[list[float]] = []
        columns, width = self._columns, len(self._columns)
        try:
            for record in records:
                rows.append([encode(record[name]) for name, encode in columns])
                if len(record) != width and not self._extra(record) <= self._accepted:
                    break
            else:
                return EncodedRecords(rows, [self._id_of(record) for record in records])
        except (LookupError, TypeError, ValueError):
            pass
        raise InvalidRecordsError(self._faults(records))

    def _extra(self, record: Mapping[str, Any]) -> set[str]:
        return record.keys() - self._names

    def _id_of(self, record: Mapping[str, Any]) -> str | int | None:
        if self._id is None:
            return None
        value = record.get(self._id)
        if value is None or (value.__class__ is str and len(value) <= MAX_ID_LENGTH):
            return value
        if value.__class__ is int and abs(value) <= MAX_ID:
            return value
        raise _InvalidValueError(f"expected text of at most {MAX_ID_LENGTH} characters or an integer")

    def _faults(self, records: Sequence[Any]) -> list[Fault]:
        faults: list[Fault] = []
        for index, record in enumerate(records):
            if isinstance(record, dict):
                faults += self._record_faults(index, record)
            else:
                faults.append(Fault(index, "", "invalid", "expected an object of column names and values"))
            if len(faults) >= MAX_FAULTS:
                break
        return faults[:MAX_FAULTS]

    def _record_faults(self, index: int, record: dict[str, Any]) -> list[Fault]:
        faults = []
        for name, encode in self._columns:
            if name not in record:
                faults.append(Fault(index, shown(name), "missing", "column is missing"))
                continue
            try:
                encode(record[name])
            except ValueError as error:
                faults.append(Fault(index, shown(name), "invalid", str(error)))
        try:
            self._id_of(record)
        except _InvalidValueError as error:
            faults.append(Fault(index, shown(self._id or ""), "invalid", str(error)))
        extra = sorted(self._extra(record) - self._accepted)
        faults += [Fault(index, shown(name), "unexpected", "the model has no such column") for name in extra]
        return faults


def to_matrix(rows: Sequence[Sequence[float]], width: int) -> Matrix:
    """The float32 matrix (rows, features) of encoded rows."""
    return np.array(rows, dtype=np.float32).reshape(len(rows), width)


def encode_column(feature: Feature, cells: Sequence[str]) -> npt.NDArray[np.float64]:
    """One column of a CSV file, encoded as `Encoder` encodes it. Each different cell is encoded once.

    Raises:
        ValueError: A cell does not fit the feature.
    """
    encode = _encoder_of(feature)
    codes = {cell: encode(parse_cell(feature, cell)) for cell in set(cells)}
    return np.array([codes[cell] for cell in cells], dtype=np.float64)


def encode_cells(feature: Feature, cells: Iterable[str]) -> tuple[dict[str, float], dict[str, str]]:
    """The code of each different cell of a CSV file, and of those refused why: as `Encoder` says it."""
    encode = _encoder_of(feature)
    codes, refused = {}, {}
    for cell in set(cells):
        try:
            codes[cell] = encode(parse_cell(feature, cell))
        except ValueError as error:
            refused[cell] = str(error)
    return codes, refused


def refusal(feature: Feature, value: Any) -> str:
    """Why a record's value does not fit the feature; empty where it does."""
    try:
        _encoder_of(feature)(value)
    except ValueError as error:
        return str(error)
    return ""


def shown(name: str) -> str:
    """A column's name, short enough for an error message: the caller chooses it."""
    return name if len(name) <= 64 else name[:63] + "…"


def accepted_range(feature: Numeric) -> tuple[float, float]:
    """The numbers that are scored: a float32 holds them as they are sent, and centred and scaled."""
    low, high = (feature.centre + bound * feature.scale for bound in (-FLOAT32_MAX, FLOAT32_MAX))
    return max(-FLOAT32_MAX, low), min(FLOAT32_MAX, high)


def is_missing(text: str) -> bool:
    """Whether a cell holds no value: blank, NA, N/A, NaN or null, in any case."""
    return text.strip().lower() in MISSING


def parse_number(text: str) -> float | None:
    """The finite number that a cell holds, or None. No thousands separators, no hexadecimal."""
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    value = float(stripped)
    return value if math.isfinite(value) else None


def parse_boolean(text: str) -> bool | None:
    """True or false in any case, or None."""
    return _BOOLEANS.get(text.strip().lower())


def parse_cell(feature: Feature, text: str) -> Cell:
    """A cell of a CSV file as the value that a JSON record would hold.

    What cannot be read stays text, so that the encoder refuses it in the same words as for JSON.
    """
    if is_missing(text):
        return None
    match feature:
        case Numeric():
            number = parse_number(text)
            return text if number is None else number
        case Boolean():
            truth = parse_boolean(text)
            return text if truth is None else truth
        case Categorical():
            return text.strip()


def _encoder_of(feature: Feature) -> Callable[[Any], float]:
    match feature:
        case Numeric():
            return _numeric(feature)
        case Boolean():
            return _boolean(feature)
        case Categorical():
            return _categorical(feature)


def _missing_code(*, nullable: bool, code: float) -> Callable[[], float]:
    def missing() -> float:
        if nullable:
            return code
        raise _InvalidValueError("must not be empty: no value was missing in training")

    return missing


def _numeric(feature: Numeric) -> Callable[[Any], float]:
    centre, scale = feature.centre, feature.scale
    missing = _missing_code(nullable=feature.nullable, code=math.nan)

    def encode(value: Any) -> float:
        if value.__class__ is float or value.__class__ is int:
            if -FLOAT32_MAX <= value <= FLOAT32_MAX:
                scaled: float = (value - centre) / scale
                if -FLOAT32_MAX <= scaled <= FLOAT32_MAX:
                    return scaled
            raise _InvalidValueError("expected a finite number within the range of a 32-bit float")
        if value is None:
            return missing()
        raise _InvalidValueError("expected a number")

    return encode


def _boolean(feature: Boolean) -> Callable[[Any], float]:
    missing = _missing_code(nullable=feature.nullable, code=math.nan)

    def encode(value: Any) -> float:
        if value is True:
            return 1.0
        if value is False:
            return 0.0
        if value is None:
            return missing()
        raise _InvalidValueError("expected true or false")

    return encode


def _categorical(feature: Categorical) -> Callable[[Any], float]:
    codes = {category: float(code) for code, category in enumerate(feature.categories)}
    missing = _missing_code(nullable=feature.nullable, code=float(len(codes)))

    def encode(value: Any) -> float:
        if value.__class__ is str:
            code = codes.get(value)
            if code is not None:
                return code
            return missing() if is_missing(value) else codes.get(value.strip(), UNSEEN)
        if value is None:
            return missing()
        raise _InvalidValueError("expected text")

    return encode
