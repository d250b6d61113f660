"""Whole columns to the model's float32 matrix: what `features` does cell by cell, for tensors and tables.

Numbers stand for themselves, booleans are 0 or 1, a category is its position in model.json (-1 for one that
training did not see), NaN is a missing value, and an infinite number is what could not be read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from churn_serving.bundle.schema import Boolean, Categorical, Feature, Manifest, Numeric
from churn_serving.features import (
    FLOAT32_MAX,
    MAX_FAULTS,
    UNSEEN,
    Fault,
    InvalidRecordsError,
    Matrix,
    parse_cell,
    shown,
)

Values = npt.NDArray[np.float64]
UNREADABLE = math.inf


class _Bounds(NamedTuple):
    """Of one feature: `(value - centre) / scale` lies in low … high, and is whole where `whole`."""

    centre: float
    scale: float
    low: float
    high: float
    whole: bool
    missing: float


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of few different texts.

    Attributes:
        different: Each text once.
        numbers: For each row the position of its text.
    """

    different: list[str]
    numbers: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "Texts": ...
    def __getitem__(self, at: int | slice) -> "str | Texts":
        if isinstance(at, slice):
            return Texts(self.different, self.numbers[at])
        return self.different[int(self.numbers[at])]


class VectorEncoder:
    """Encodes matrices of values by the features of one manifest. Stateless, so safe to share."""

    def __init__(self, manifest: Manifest) -> None:
        self.features = manifest.features
        bounds = [_bounds(feature) for feature in manifest.features]
        self._centre, self._scale, self._low, self._high = (
            np.array([bound[at] for bound in bounds], dtype=np.float64) for at in range(4)
        )
        self._whole = np.array([bound.whole for bound in bounds])
        self._missing = np.array([bound.missing for bound in bounds], dtype=np.float64)
        self._nullable = np.array([feature.nullable for feature in manifest.features])
        self._positions = [_positions(feature) for feature in manifest.features]

    def read_texts(self, column: int, texts: Texts | Sequence[str | None]) -> Values:
        """One column of texts, read as the cells of a CSV file. Each different text is read once."""
        feature, positions = self.features[column], self._positions[column]
        if isinstance(texts, Texts):
            values = [_read_text(feature, positions, text) for text in texts.different]
            return np.array(values, dtype=np.float64)[texts.numbers]
        found = {text: _read_text(feature, positions, text) for text in set(texts)}
        return np.array([found[text] for text in texts], dtype=np.float64)

    def encode(self, values: Values) -> Matrix:
        """The model's matrix.

        Args:
            values: (rows, features), as the module says.

        Raises:
            InvalidRecordsError: Names the record and the column of each wrong value, up to 20.
        """
        absent = np.isnan(values)
        with np.errstate(over="ignore", invalid="ignore"):
            codes = (values - self._centre) / self._scale
        wrong = ~((codes >= self._low) & (codes <= self._high) & (np.abs(values) <= FLOAT32_MAX))
        wrong |= self._whole & (codes != np.rint(codes))
        wrong[absent] = False
        wrong |= absent & ~self._nullable
        if wrong.any():
            raise InvalidRecordsError([self._fault(values, *at) for at in np.argwhere(wrong)[:MAX_FAULTS]])
        return np.where(absent, self._missing, codes).astype(np.float32)

    def _fault(self, values: Values, row: int, column: int) -> Fault:
        feature, value = self.features[column], values[row, column]
        return Fault(int(row), shown(feature.name), "invalid", _complaint(feature, float(value)))


def shown_value(feature: Feature, value: float) -> float | bool | str | None:
    """A value as a record holds it; None where it is missing or names no category."""
    if math.isnan(value):
        return None
    match feature:
        case Numeric():
            return int(value) if value.is_integer() and abs(value) < 1 << 53 else value
        case Boolean():
            return bool(value)
        case Categorical():
            return feature.categories[int(value)] if 0 <= value < len(feature.categories) else None


def _positions(feature: Feature) -> dict[str, float]:
    texts = feature.categories if isinstance(feature, Categorical) else ()
    return {text: float(position) for position, text in enumerate(texts)}


def _read_text(feature: Feature, positions: Mapping[str, float], text: str | None) -> float:
    cell = None if text is None else parse_cell(feature, text)
    if cell is None:
        return math.nan
    if isinstance(cell, str):
        return positions.get(cell, UNSEEN) if isinstance(feature, Categorical) else UNREADABLE
    return float(cell)


def _bounds(feature: Feature) -> _Bounds:
    match feature:
        case Numeric():
            return _Bounds(feature.centre, feature.scale, -FLOAT32_MAX, FLOAT32_MAX, False, math.nan)
        case Boolean():
            return _Bounds(0, 1, 0, 1, True, math.nan)
        case Categorical():
            missing = len(feature.categories)  # its own code, which a tensor of integers may send
            return _Bounds(0, 1, UNSEEN, missing - (not feature.nullable), True, missing)


def _complaint(feature: Feature, value: float) -> str:
    if math.isnan(value):
        return "must not be empty: no value was missing in training"
    match feature:
        case Numeric():
            return "expected a finite number within the range of a 32-bit float"
        case Boolean():
            return "expected true or false, as a number 1 or 0"
        case Categorical():
            return f"expected text, as a number the position among the {len(feature.categories)} categories"
