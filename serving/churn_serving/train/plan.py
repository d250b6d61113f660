"""What the user asks for, be the model trained here or a pipeline of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The data, what it means and what the bundle is called.

    Attributes:
        data: A CSV or Parquet file of labelled customers.
        positive: The target's value that means churn.
        categorical: Columns of numbers that are codes.
        threshold: Probability from which a customer counts as churning, unless whoever serves says otherwise.
    """

    data: Path
    target: str
    positive: str
    name: str
    version: str
    id_column: str | None = None
    categorical: Sequence[str] = ()
    threshold: float = 0.5
