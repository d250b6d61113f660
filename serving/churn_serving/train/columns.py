"""Decides what each column is.

The rules, in order:

1. one value only: ignored, it tells nothing
2. true/false: boolean
3. numbers only: numeric, however few different ones (0/1 too); `--categorical` says that they are codes
4. dates: refused, a date seen in training never comes again; so are numbers such as 1,234.50, 5 % or $3
5. text: categorical, up to 100 different ones; numbers with leading zeros are text (post codes)

Blank, NA, N/A, NaN and null are missing values in every kind. What looks like the customers' id is refused
by name.
"""

import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from churn_serving.bundle.schema import MAX_NAME, Boolean, Categorical, Feature, Numeric
from churn_serving.errors import DataError
from churn_serving.features import FLOAT32_MAX, is_missing, parse_boolean, parse_number
from churn_serving.train.table import Table

MAX_CATEGORIES = 100

_DATES = re.compile(
    r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2}([ T].*)?)?"
    r"|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( .*)?"
    r"|\d{1,2}[- ][A-Za-z]{3,9}[- ,]+\d{2,4}"
    r"|[A-Za-z]{3,9} \d{1,2},? \d{4}"
)
_ID_NAME = re.compile(
    r"(?i)(^|[_\- .])(id|uuid|guid|key)$|[a-z](Id|ID)$|(?i:customer|account|user)[_\- ]?(no|nr|number)$"
)
# 1,234.50 and 1.234,50, with a sign of money or percent: numbers to people, texts to a program.
_FOR_PEOPLE = re.compile(
    r"[-+]?[$€£¥]?[-+]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?\s?[%€$£¥]?"
    r"|[-+]?[$€£¥]?[-+]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?\s?[%€$£¥]?"
)
_LEADING_ZERO = re.compile(r"0\d+")


class Ignored(NamedTuple):
    """A column that is accepted and not scored, and why."""

    name: str
    why: str


@dataclass
class Columns:
    """What became of the table's columns."""

    features: list[Feature] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)


class _Refusal(NamedTuple):
    name: str
    why: str
    is_id: bool


def decide_columns(
    table: Table,
    *,
    target: str,
    id_column: str | None,
    drop: Collection[str],
    categorical: Collection[str],
    max_categories: int = MAX_CATEGORIES,
) -> Columns:
    """Decide each column's kind from all its cells.

    Raises:
        DataError: Names every column that cannot be used and the options that mend it all.
    """
    _check_names(table)
    columns = Columns()
    refusals: list[_Refusal] = []
    for name, cells in table.columns.items():
        if name in {target, id_column}:
            continue
        outcome = (
            Ignored(name, "--drop")
            if name in drop
            else _decide(name, cells, as_text=name in categorical, most=max_categories)
        )
        match outcome:
            case Ignored():
                columns.ignored.append(outcome)
            case _Refusal():
                refusals.append(outcome)
            case _:
                columns.features.append(outcome)
    if refusals:
        raise DataError(_mend(refusals, has_id=id_column is not None))
    if not columns.features:
        raise DataError("no column is left to learn from")
    return columns


def _check_names(table: Table) -> None:
    for name in table.columns:
        if len(name) > MAX_NAME:
            told = f"column {name[:40] + '…'!r} has a name of {len(name)} characters"
            raise DataError(f"{told}; at most {MAX_NAME} are allowed: rename it")


def _decide(name: str, cells: Sequence[str], *, as_text: bool, most: int) -> Feature | Ignored | _Refusal:
    counts = Counter(cells)
    present = {value: count for value, count in counts.items() if not is_missing(value)}
    nullable = len(present) < len(counts)
    if not present or (len(present) == 1 and not nullable):
        return Ignored(name, "empty" if not present else "the same value in every row")
    if not as_text:
        if all(parse_boolean(value) is not None for value in present):
            return _boolean(name, present, nullable=nullable)
        if all(parse_number(value) is not None for value in present) and not any(
            _LEADING_ZERO.fullmatch(value) for value in present
        ):
            return _numeric(name, cells, present, nullable=nullable)
        if holds_dates(present):
            return _Refusal(name, "holds dates", is_id=False)
        if _is_for_people(present):
            why = (
                "holds numbers as people write them, with commas or signs of money or percent: write them"
                f" plainly, as 1234.5, or take them as texts with --categorical {shlex.quote(name)}"
            )
            return _Refusal(name, why, is_id=False)
    return _categorical(name, present, nullable=nullable, most=most)


def holds_dates(values: Iterable[str]) -> bool:
    """Whether all of them are dates, with or without a time."""
    return all(_DATES.fullmatch(value) for value in values)


def _is_for_people(present: Collection[str]) -> bool:
    plain = sum(value.isdecimal() for value in present)
    return plain < len(present) and all(
        _FOR_PEOPLE.fullmatch(value) and not _LEADING_ZERO.fullmatch(value) for value in present
    )


def _boolean(name: str, present: dict[str, int], *, nullable: bool) -> Boolean:
    truths = sum(count for value, count in present.items() if parse_boolean(value))
    return Boolean(name=name, nullable=nullable, typical=2 * truths > sum(present.values()))


def _numeric(
    name: str, cells: Sequence[str], present: dict[str, int], *, nullable: bool
) -> Numeric | _Refusal:
    parsed = {value: parse_number(value) for value in present}
    values = np.array([parsed[cell] for cell in cells if cell in parsed], dtype=np.float64)
    if _numbers_the_rows(name, values):
        return _Refusal(name, "gives each row its own number", is_id=True)
    least, most = float(values.min()), float(values.max())
    if max(-least, most) > FLOAT32_MAX:
        why = f"holds numbers beyond {FLOAT32_MAX:.2g}, which a 32-bit float does not hold: leave those blank"
        return _Refusal(name, why, is_id=False)
    # The squares of very small numbers vanish, and with them their deviation.
    scale = float(values.std()) or most - least or 1.0
    return Numeric(
        name=name,
        nullable=nullable,
        minimum=least,
        maximum=most,
        centre=float(values.mean()),
        scale=scale,
        typical=float(np.quantile(values, 0.5, method="lower")),
    )


def _numbers_the_rows(name: str, values: np.ndarray) -> bool:
    if not np.array_equal(values, np.floor(values)) or len(np.unique(values)) < len(values):
        return False
    return bool(_ID_NAME.search(name)) or values.max() - values.min() == len(values) - 1


def _categorical(name: str, present: dict[str, int], *, nullable: bool, most: int) -> Categorical | _Refusal:
    rows = sum(present.values())
    if len(present) > most:
        numbers = sum(count for value, count in present.items() if parse_number(value) is not None)
        if 0.5 * rows < numbers < rows:
            why = f"holds numbers, except in {rows - numbers:,} rows: leave those blank to use it"
            return _Refusal(name, why, is_id=False)
        if len(present) == rows:
            return _Refusal(name, "is different in every row", is_id=True)
        why = f"has {len(present):,} different texts; at most {most:,} can be learnt"
        return _Refusal(name, why, is_id=False)
    typical = max(sorted(present), key=lambda value: present[value])
    return Categorical(name=name, nullable=nullable, categories=sorted(present), typical=typical)


def _mend(refusals: Sequence[_Refusal], *, has_id: bool) -> str:
    options = []
    for refusal in refusals:
        option = "--id" if refusal.is_id and not has_id else "--drop"
        has_id = has_id or option == "--id"
        options.append(f"{option} {shlex.quote(refusal.name)}")
    reasons = "\n".join(f"  {refusal.name}: {refusal.why}" for refusal in refusals)
    return f"these columns cannot be learnt from:\n{reasons}\nAdd: {' '.join(options)}"
