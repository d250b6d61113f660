"""The files of a bundle from what `train` and `export` found, alike for both."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import onnx
import sklearn
from msgspec import UNSET, UnsetType

from churn_serving import __version__
from churn_serving.bundle.schema import MIN_GOLDEN_ROWS, Feature, GoldenRow, Manifest
from churn_serving.bundle.write import build_files
from churn_serving.errors import DataError
from churn_serving.features import Matrix, encode_column, parse_cell
from churn_serving.train.calibration import Floats
from churn_serving.train.card import build_card
from churn_serving.train.columns import Ignored
from churn_serving.train.evaluate import build_reference
from churn_serving.train.search import Found
from churn_serving.train.split import Indices
from churn_serving.train.table import Table

_GOLDEN_ROWS = 2 * MIN_GOLDEN_ROWS


@dataclass(frozen=True)
class Trained:
    """A bundle's files by name and what to tell about them.

    Attributes:
        holdout: The labelled customers that the metrics are of.
    """

    files: dict[str, bytes]
    manifest: Manifest
    holdout: Table
    ignored: Sequence[Ignored]
    unlabelled_rows: int


def assemble(
    manifest: Manifest,
    model: bytes,
    table: Table,
    probability: Floats,
    *,
    reference_rows: Indices,
    holdout_rows: Indices,
    found: Found | None = None,
) -> dict[str, bytes]:
    """The bundle's files by name.

    Args:
        manifest: Its features are the model's.
        model: The graph.
        table: Labelled customers.
        probability: Of churn per row of the table, as the library gives it.
        reference_rows: Whose columns are the distribution that drift is held against.
        holdout_rows: Whose probabilities are.
        found: What a search of settings found, for the card.
    """
    return build_files(
        model=model,
        manifest=manifest,
        golden=_golden(table, manifest.features, probability),
        reference=build_reference(
            manifest.features, take_rows(table, reference_rows).columns, probability[holdout_rows]
        ),
        card=build_card(manifest, found),
    )


def encode_table(table: Table, features: Sequence[Feature]) -> Matrix:
    """The coded matrix (rows, features)."""
    columns = [encode_column(feature, table.columns[feature.name]) for feature in features]
    return np.column_stack(columns).astype(np.float32)


def take_rows(table: Table, rows: Indices) -> Table:
    """Some customers of a table, in the order of `rows`."""
    columns = {name: [cells[row] for row in rows] for name, cells in table.columns.items()}
    return Table(columns, table.digest)


def created() -> str | UnsetType:
    """When the bundle says it was made: SOURCE_DATE_EPOCH, or nothing so that its digest stays the same."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return UNSET
    if not epoch.isdigit():
        raise DataError(f"SOURCE_DATE_EPOCH must be seconds since 1970, not {epoch!r}")
    return datetime.fromtimestamp(int(epoch), UTC).isoformat().replace("+00:00", "Z")


def libraries(**others: str) -> dict[str, str]:
    """Versions of what made the model."""
    return {
        "churn-serving": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "scikit-learn": sklearn.__version__,
        **others,
    }


def _golden(table: Table, features: Sequence[Feature], probability: Floats) -> list[GoldenRow]:
    """Rows from the lowest probability to the highest in even steps. Without the id: the bundle travels."""
    ranked = np.argsort(probability, kind="stable")
    picked = ranked[np.linspace(0, len(ranked) - 1, _GOLDEN_ROWS).round().astype(int)]
    return [
        GoldenRow(
            record={
                feature.name: parse_cell(feature, table.columns[feature.name][row]) for feature in features
            },
            probability=float(probability[row]),
        )
        for row in picked
    ]
