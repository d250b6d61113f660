"""The training table: a CSV or Parquet file by column, as text, and its labels."""

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from churn_serving.csvfile import MalformedRow, read_customers
from churn_serving.errors import DataError
from churn_serving.features import is_missing, parse_number
from churn_serving.train.parquet import is_parquet, read_columns

MIN_ROWS = 100
MIN_ROWS_PER_CLASS = 10
MIN_MEASURED = 2
"""Rows to measure on: one of each outcome. Few rows tell little, which the intervals say."""


@dataclass(frozen=True)
class Table:
    """Columns by name, all of the same length; cells as the file has them, without surrounding blanks.

    Attributes:
        digest: Of the file's bytes.
    """

    columns: dict[str, list[str]]
    digest: str

    @property
    def rows(self) -> int:
        """Number of customers."""
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True)
class Labels:
    """Who churned.

    Attributes:
        churned: One per row.
        positive: The target's text that means churn, as the file writes it.
        negative: The other one; `not <positive>` where there are several.
    """

    churned: npt.NDArray[np.bool_]
    positive: str
    negative: str


def read_table(path: Path, least: int = MIN_ROWS) -> Table:
    """Read the whole file, Parquet where it begins as Parquet does, else CSV; of `least` rows or more.

    Raises:
        DataError: See `csvfile` and `parquet`; or a row does not have as many cells as the header.
    """
    columns = read_columns(path) if is_parquet(path) else _read_csv(path)
    table = Table(columns, _digest(path))
    if table.rows < least:
        purpose = "to train and to test" if least >= MIN_ROWS else "to measure"
        raise DataError(f"{path} has {table.rows} customers; at least {least} are needed {purpose}")
    return table


def _read_csv(path: Path) -> dict[str, list[str]]:
    customers = read_customers(path)
    columns: list[list[str]] = [[] for _ in customers.header]
    same: dict[str, str] = {}  # one string object per different cell: most repeat thousands of times
    for row in customers.rows:
        if isinstance(row, MalformedRow):
            raise DataError(f"{path}, line {row.line}: {row.message}")
        for column, cell in zip(columns, row.cells, strict=True):
            stripped = cell.strip()
            column.append(same.setdefault(stripped, stripped))
    return dict(zip(customers.header, columns, strict=True))


def require_column(table: Table, name: str, option: str) -> None:
    """Raise DataError, naming the nearest, where the table has no such column."""
    if name in table.columns:
        return
    near = difflib.get_close_matches(
        name.lower(), [column.lower() for column in table.columns], n=1, cutoff=0.5
    )
    hint = next((f"; did you mean {column!r}?" for column in table.columns if column.lower() in near), "")
    raise DataError(f"{option}: there is no column {name!r}{hint} The file has: {_list(table.columns)}")


def drop_unlabelled(table: Table, target: str) -> Table:
    """The rows whose target is not blank: the others cannot teach anything."""
    keep = [index for index, cell in enumerate(table.columns[target]) if not is_missing(cell)]
    if len(keep) == table.rows:
        return table
    columns = {name: [cells[index] for index in keep] for name, cells in table.columns.items()}
    return Table(columns, table.digest)


def read_labels(table: Table, target: str, positive: str, least: int = MIN_ROWS_PER_CLASS) -> Labels:
    """Which rows churned: those whose target is `positive`, as text or as the same number.

    Raises:
        DataError: No row or every row is positive, or fewer than `least` are of either outcome.
    """
    cells = table.columns[target]
    counts = Counter(cells)
    matching = _matching(counts, positive)
    if not matching:
        raise DataError(f"--positive: {target!r} is never {positive!r}; it holds {_list(counts)}")
    churned = np.array([cell in matching for cell in cells])
    others = [value for value in counts if value not in matching]
    if not others:
        raise DataError(f"{target!r} is {positive!r} in every row; a model needs customers who stayed too")
    few = min(int(churned.sum()), int((~churned).sum()))
    if few < least:
        raise DataError(f"only {few} rows are of the rarer outcome; at least {least} are needed")
    name = max(matching, key=lambda value: counts[value])
    return Labels(churned, name, others[0] if len(others) == 1 else f"not {name}")


def _matching(values: Iterable[str], positive: str) -> set[str]:
    wanted, number = positive.strip(), parse_number(positive)
    as_text = {value for value in values if value == wanted}
    as_number = {value for value in values if number is not None and parse_number(value) == number}
    return as_text | as_number or {value for value in values if value.lower() == wanted.lower()}


def _list(names: Iterable[str], limit: int = 30) -> str:
    every: Sequence[str] = [repr(name[:60]) for name in names]
    return ", ".join(every[:limit]) + (f" and {len(every) - limit} more" if len(every) > limit else "")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
