"""Which rows a model is fitted on and which it is measured on."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold, TimeSeriesSplit, train_test_split

from churn_serving.errors import DataError
from churn_serving.features import is_missing, parse_number
from churn_serving.train.table import MIN_ROWS_PER_CLASS, Table

HOLDOUT = 0.2
_MIN_FOLD_ROWS = 4  # of the rarer outcome: calibration makes folds of these again

Indices: TypeAlias = npt.NDArray[np.intp]
Churned: TypeAlias = npt.NDArray[np.bool_]


class Split(NamedTuple):
    """Rows to fit on, in the order of time where there is one, and rows held back.

    Attributes:
        holdout_from: The first time of the holdout, as the file writes it; every row fitted on is earlier.
    """

    fit_rows: Indices
    test_rows: Indices
    holdout_from: str | None


def split_at_random(churned: Churned, seed: int) -> Split:
    """Hold a fifth back with the same share of churners."""
    rows = np.arange(len(churned))
    fit_rows, test_rows = train_test_split(rows, test_size=HOLDOUT, random_state=seed, stratify=churned)
    return Split(fit_rows, test_rows, None)


def split_by_time(table: Table, column: str, churned: Churned) -> Split:
    """Hold the latest fifth back, or a little more or less: rows of one time stay together.

    Raises:
        DataError: A cell is no time, all are the same, or a part has too few of either outcome.
    """
    cells = table.columns[column]
    times = _parse_times(column, cells)
    order = np.argsort(times, kind="stable")
    ranked = times[order]
    if ranked[0] == ranked[-1]:
        raise DataError(f"--time-col: {column!r} is {cells[0]!r} in every row; nothing is later")
    cut = int(np.searchsorted(ranked, ranked[round((1 - HOLDOUT) * len(ranked))], side="left"))
    cut = cut or int(np.searchsorted(ranked, ranked[0], side="right"))
    split = Split(order[:cut], order[cut:], cells[order[cut]])
    for rows, part in ((split.fit_rows, "before"), (split.test_rows, "from")):
        few = _rarer(churned[rows])
        if few < MIN_ROWS_PER_CLASS:
            raise DataError(
                f"--time-col: only {few} rows {part} {split.holdout_from} are of the rarer outcome; "
                f"at least {MIN_ROWS_PER_CLASS} are needed on either side"
            )
    return split


def folds(split: Split, churned: Churned, count: int, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """Parts of the fitting rows: to fit on and, in turn, to measure on; later ones where time is known.

    Raises:
        DataError: A fold lacks an outcome.
    """
    rows = split.fit_rows
    shuffled = StratifiedKFold(count, shuffle=True, random_state=seed)
    splitter = shuffled if split.holdout_from is None else TimeSeriesSplit(count)
    few = _rarer(churned[rows])
    if few < count:
        raise DataError(f"--cross-validate {count}: only {few} rows to train on are of the rarer outcome")
    for fit_at, test_at in splitter.split(rows, churned[rows]):
        if _rarer(churned[rows[fit_at]]) < _MIN_FOLD_ROWS or _rarer(churned[rows[test_at]]) < 1:
            raise DataError(f"--cross-validate {count}: a fold has too few of an outcome; take fewer folds")
        yield rows[fit_at], rows[test_at]


def _rarer(churned: Churned) -> int:
    """Rows of the rarer outcome."""
    return min(int(churned.sum()), int((~churned).sum()))


def _parse_times(column: str, cells: list[str]) -> npt.NDArray[np.float64]:
    parsed = {cell: _parse_time(cell) for cell in set(cells)}
    for row, cell in enumerate(cells, start=1):
        if parsed[cell] is None:
            told = "is empty" if is_missing(cell) else f"holds {cell[:40]!r}"
            raise DataError(
                f"--time-col: {column!r} {told} in customer {row}; "
                "every row needs a number or a date such as 2026-03-31"
            )
    return np.array([parsed[cell] for cell in cells], dtype=np.float64)


def _parse_time(cell: str) -> float | None:
    number = parse_number(cell)
    if number is not None:
        return number
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
