"""Customers of one chunk as columns of codes, and who among them cannot be scored."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from churn_serving.bundle.schema import Feature
from churn_serving.features import Matrix, encode_cells

Codes = npt.NDArray[np.float32 | np.float64]
Rows = npt.NDArray[np.integer[Any]]


class Rejected(NamedTuple):
    """A row that is not scored: its line, or row in a Parquet file, from 1, and why."""

    line: int
    reason: str


class Column(NamedTuple):
    """One feature of some customers, as a dictionary of codes: most repeat, and are worked on once.

    Attributes:
        values: The codes that occur, as `features` gives them; 0 for what is refused.
        positions: Which of them each row has; None where each row has its own.
    """

    values: Codes
    positions: Rows | None = None

    def take(self, rows: Rows) -> "Column":
        """The column of these rows."""
        if self.positions is None:
            return Column(self.values[rows])
        return Column(self.values, self.positions[rows])

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.values if self.positions is None else self.positions)

    def codes(self) -> Codes:
        """The code of each row."""
        return self.values if self.positions is None else self.values.take(self.positions)


class Customers(NamedTuple):
    """Rows that can be scored, and those that cannot.

    Attributes:
        ids: One per row of the columns; an Arrow array for Parquet.
        columns: In the order of the model's features.
    """

    ids: Any
    columns: list[Column]
    rejected: list[Rejected]


class Read(NamedTuple):
    """A column as it was read: all rows, and why some are refused, by row from 0."""

    column: Column
    refused: dict[int, str]


def read_texts(feature: Feature, cells: Sequence[str]) -> Read:
    """A column of texts, read as the cells of a CSV file. Each different one is read once."""
    codes, refused = encode_cells(feature, cells)
    if not refused:
        return Read(Column(np.array([codes[cell] for cell in cells])), {})
    rows = {row: refused[cell] for row, cell in enumerate(cells) if cell in refused}
    return Read(Column(np.array([codes.get(cell, 0.0) for cell in cells])), rows)


def join(features: Sequence[Feature], columns: Iterable[Read]) -> tuple[list[Column], dict[int, str]]:
    """The columns and, by row, why it is refused: each column's reason."""
    joined: list[Column] = []
    reasons: dict[int, list[str]] = {}
    for feature, (column, refused) in zip(features, columns, strict=True):
        joined.append(column)
        for row, why in refused.items():
            reasons.setdefault(row, []).append(f"{feature.name}: {why}")
    return joined, {row: "; ".join(whys) for row, whys in reasons.items()}


def rows_but(refused: Iterable[int], count: int) -> Rows:
    """The other rows of `count`."""
    good: Rows = np.delete(np.arange(count), list(refused))
    return good


def split(matrix: Matrix) -> list[Column]:
    """A matrix (rows, features) as its columns."""
    return [Column(matrix[:, at]) for at in range(matrix.shape[1])]


def stack(columns: Sequence[Column]) -> Matrix:
    """Columns as the matrix (rows, features) that the graph takes."""
    return np.column_stack([column.codes().astype(np.float32) for column in columns])
