"""From a file of customers to the files of a bundle: read, decide, fit, measure, build."""

import os
import platform
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import sklearn
from msgspec import UNSET, UnsetType
from sklearn.model_selection import train_test_split

from churn_serving import __version__
from churn_serving.bundle.schema import MIN_GOLDEN_ROWS, Feature, GoldenRow, Manifest
from churn_serving.bundle.write import build_files
from churn_serving.errors import DataError
from churn_serving.features import Matrix, encode_column, parse_cell
from churn_serving.train.card import build_card
from churn_serving.train.columns import Columns, Ignored, decide_columns
from churn_serving.train.evaluate import build_reference, measure
from churn_serving.train.onnx_graph import build_graph
from churn_serving.train.pipeline import Algorithm, build_layout, expand, fit, predict
from churn_serving.train.table import Labels, Table, drop_unlabelled, read_labels, read_table, require_column

HOLDOUT = 0.2
_GOLDEN_ROWS = 2 * MIN_GOLDEN_ROWS

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrainingPlan:
    """What the user asked for.

    Attributes:
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
    drop: Sequence[str] = ()
    categorical: Sequence[str] = ()
    algorithm: Algorithm = Algorithm.LOGISTIC
    threshold: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """A bundle's files by name and what to tell about them."""

    files: dict[str, bytes]
    manifest: Manifest
    ignored: Sequence[Ignored]
    unlabelled_rows: int


def train(plan: TrainingPlan) -> Trained:
    """Train a model.

    The columns' descriptions (range, categories, centre and scale) come from all labelled rows; the
    classifier is fitted on the training part only, and that classifier, not one refitted on everything, is
    what the metrics describe.

    Raises:
        DataError: The file cannot be used as it is.
    """
    whole = read_table(plan.data)
    _check_names(whole, plan)
    table = drop_unlabelled(whole, plan.target)
    labels = read_labels(table, plan.target, plan.positive)
    columns = decide_columns(
        table, target=plan.target, id_column=plan.id_column, drop=plan.drop, categorical=plan.categorical
    )
    fitted = _fit(plan, _encode(table, columns.features), columns.features, labels)
    manifest = _describe(plan, table, labels, columns, fitted)
    files = build_files(
        model=fitted.graph,
        manifest=manifest,
        golden=_golden(table, columns.features, fitted.probability),
        reference=build_reference(
            columns.features, _take(table, fitted.fit_rows), fitted.probability[fitted.test_rows]
        ),
        card=build_card(manifest),
    )
    return Trained(files, manifest, columns.ignored, whole.rows - table.rows)


@dataclass(frozen=True)
class _Fitted:
    """A classifier's graph, what it says of every row, and which rows it was fitted and tested on."""

    graph: bytes
    probability: Floats
    fit_rows: Indices
    test_rows: Indices


def _fit(plan: TrainingPlan, matrix: Matrix, features: Sequence[Feature], labels: Labels) -> _Fitted:
    fit_rows, test_rows = train_test_split(
        np.arange(len(matrix)), test_size=HOLDOUT, random_state=plan.seed, stratify=labels.churned
    )
    layout = build_layout(features)
    inputs = expand(layout, matrix)
    classifier = fit(plan.algorithm, inputs[fit_rows], labels.churned[fit_rows], plan.seed)
    graph = build_graph(layout, classifier, len(features))
    return _Fitted(graph, predict(classifier, inputs), fit_rows, test_rows)


def _describe(
    plan: TrainingPlan, table: Table, labels: Labels, columns: Columns, fitted: _Fitted
) -> Manifest:
    test_rows = fitted.test_rows
    return Manifest(
        format_version=1,
        name=plan.name,
        version=plan.version,
        created=_created(),
        algorithm=plan.algorithm.value,
        id=plan.id_column,
        target=plan.target,
        ignored=[column.name for column in columns.ignored],
        features=columns.features,
        classes=(labels.negative, labels.positive),
        positive=labels.positive,
        threshold=plan.threshold,
        seed=plan.seed,
        metrics=measure(
            labels.churned[test_rows], fitted.probability[test_rows], train_rows=len(fitted.fit_rows)
        ),
        libraries=_libraries(),
        data_digest=table.digest,
    )


def _check_names(table: Table, plan: TrainingPlan) -> None:
    require_column(table, plan.target, "--target")
    if plan.id_column is not None:
        require_column(table, plan.id_column, "--id")
    for option, names in (("--drop", plan.drop), ("--categorical", plan.categorical)):
        for name in names:
            require_column(table, name, option)
            _check_free(name, option, {plan.target, plan.id_column})
    if plan.id_column == plan.target:
        raise DataError("--id and --target name the same column")


def _check_free(name: str, option: str, taken: Collection[str | None]) -> None:
    if name in taken:
        raise DataError(f"{option} names {name!r}, which is the target or the id")


def _encode(table: Table, features: Sequence[Feature]) -> Matrix:
    columns = [encode_column(feature, table.columns[feature.name]) for feature in features]
    return np.column_stack(columns).astype(np.float32)


def _take(table: Table, rows: Indices) -> dict[str, list[str]]:
    return {name: [cells[row] for row in rows] for name, cells in table.columns.items()}


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


def _created() -> str | UnsetType:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return UNSET
    if not epoch.isdigit():
        raise DataError(f"SOURCE_DATE_EPOCH must be seconds since 1970, not {epoch!r}")
    return datetime.fromtimestamp(int(epoch), UTC).isoformat().replace("+00:00", "Z")


def _libraries() -> dict[str, str]:
    return {
        "churn-serving": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "scikit-learn": sklearn.__version__,
    }
