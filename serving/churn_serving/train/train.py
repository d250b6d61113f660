"""From a file of customers to the files of a bundle: read, decide, fit, measure, build."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from churn_serving.bundle.schema import MIN_GOLDEN_ROWS, Feature, Manifest, Metrics
from churn_serving.errors import DataError
from churn_serving.train.assemble import Trained, assemble, created, encode_table, libraries, take_rows
from churn_serving.train.calibration import Calibration, Floats
from churn_serving.train.classifiers import Algorithm, import_library
from churn_serving.train.columns import Columns, decide_columns
from churn_serving.train.evaluate import measure, spread
from churn_serving.train.onnx_graph import build_graph
from churn_serving.train.pipeline import Fitted, Recipe, fit, predict
from churn_serving.train.split import Indices, Split, folds, split_at_random, split_by_time
from churn_serving.train.table import Labels, Table, drop_unlabelled, read_labels, read_table, require_column

_GOLDEN_ROWS = 2 * MIN_GOLDEN_ROWS
_TIME_OPTION = "--time-col"


@dataclass(frozen=True)
class TrainingPlan:
    """What the user asked for.

    Attributes:
        positive: The target's value that means churn.
        categorical: Columns of numbers that are codes.
        calibration: None takes the classifier's own probabilities.
        time_column: Its latest rows are the holdout and it is not learnt from; None holds back at random.
        cross_validate: Number of folds; None does without.
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
    calibration: Calibration | None = None
    time_column: str | None = None
    cross_validate: int | None = None
    threshold: float = 0.5
    seed: int = 0


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
    columns = _decide_columns(plan, table)
    outcome = _learn(plan, table, columns.features, labels)
    manifest = _describe(plan, table, labels, columns, outcome)
    files = assemble(
        manifest,
        build_graph(outcome.fitted),
        table,
        outcome.probability,
        reference_rows=outcome.split.fit_rows,
        holdout_rows=outcome.split.test_rows,
    )
    holdout = take_rows(table, outcome.split.test_rows)
    return Trained(files, manifest, holdout, columns.ignored, whole.rows - table.rows)


@dataclass(frozen=True)
class _Outcome:
    """A fitted model, what it says of every row, and how good that is."""

    fitted: Fitted
    probability: Floats
    split: Split
    metrics: Metrics


def _decide_columns(plan: TrainingPlan, table: Table) -> Columns:
    columns = decide_columns(
        table,
        target=plan.target,
        id_column=plan.id_column,
        drop=[*plan.drop, *([plan.time_column] if plan.time_column else [])],
        categorical=plan.categorical,
    )
    whys = {plan.time_column: _TIME_OPTION}
    columns.ignored = [column._replace(why=whys.get(column.name, column.why)) for column in columns.ignored]
    return columns


def _learn(plan: TrainingPlan, table: Table, features: Sequence[Feature], labels: Labels) -> _Outcome:
    matrix, churned = encode_table(table, features), labels.churned
    recipe = Recipe(plan.algorithm, features, plan.seed, plan.calibration)

    def fit_on(rows: Indices) -> Fitted:
        return fit(recipe, matrix[rows], churned[rows])

    def measure_on(rows: Indices, probability: Floats, fit_rows: Indices) -> Metrics:
        return measure(churned[rows], probability, train_rows=len(fit_rows))

    split = (
        split_at_random(churned, plan.seed)
        if plan.time_column is None
        else split_by_time(table, plan.time_column, churned)
    )
    validation = None
    if plan.cross_validate is not None:
        parts = folds(split, churned, plan.cross_validate, plan.seed)
        validation = spread(
            [measure_on(test, predict(fit_on(part), matrix[test]), part) for part, test in parts]
        )
    fitted = fit_on(split.fit_rows)
    probability = predict(fitted, matrix)
    metrics = msgspec.structs.replace(
        measure_on(split.test_rows, probability[split.test_rows], split.fit_rows),
        holdout_from=split.holdout_from,
        cross_validation=validation,
    )
    return _Outcome(fitted, probability, split, metrics)


def _describe(
    plan: TrainingPlan, table: Table, labels: Labels, columns: Columns, outcome: _Outcome
) -> Manifest:
    return Manifest(
        format_version=1,
        name=plan.name,
        version=plan.version,
        created=created(),
        algorithm=plan.algorithm.value,
        calibration=None if plan.calibration is None else plan.calibration.value,
        id=plan.id_column,
        target=plan.target,
        ignored=[column.name for column in columns.ignored],
        features=columns.features,
        classes=(labels.negative, labels.positive),
        positive=labels.positive,
        threshold=plan.threshold,
        seed=plan.seed,
        metrics=outcome.metrics,
        libraries=libraries(**_library(plan.algorithm)),
        data_digest=table.digest,
    )


def _library(algorithm: Algorithm) -> dict[str, str]:
    if algorithm.library is None:
        return {}
    return {algorithm.library: str(import_library(algorithm).__version__)}


def _check_names(table: Table, plan: TrainingPlan) -> None:
    require_column(table, plan.target, "--target")
    if plan.id_column is not None:
        require_column(table, plan.id_column, "--id")
    times = [plan.time_column] if plan.time_column else []
    for option, names in (("--drop", plan.drop), ("--categorical", plan.categorical), (_TIME_OPTION, times)):
        for name in names:
            require_column(table, name, option)
            _check_free(name, option, {plan.target, plan.id_column})
    if plan.id_column == plan.target:
        raise DataError("--id and --target name the same column")


def _check_free(name: str, option: str, taken: Collection[str | None]) -> None:
    if name in taken:
        raise DataError(f"{option} names {name!r}, which is the target or the id")
