"""From a file of customers to the files of a bundle: read, decide, fit, measure, build."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import msgspec

from churn_serving.bundle.schema import CrossValidation, Feature, Manifest, Metrics
from churn_serving.errors import DataError
from churn_serving.features import Matrix
from churn_serving.train.assemble import Trained, assemble, created, encode_table, libraries, take_rows
from churn_serving.train.calibration import Calibration, Floats
from churn_serving.train.classifiers import Algorithm, import_library
from churn_serving.train.columns import Columns, decide_columns
from churn_serving.train.evaluate import measure, spread
from churn_serving.train.onnx_graph import build_graph
from churn_serving.train.pipeline import Fitted, Recipe, fit, predict
from churn_serving.train.plan import Plan
from churn_serving.train.search import Found, Report, search
from churn_serving.train.split import Churned, Indices, Split, folds, split_at_random, split_by_time
from churn_serving.train.table import Labels, Table, drop_unlabelled, read_labels, read_table, require_column

_SEARCH_FOLDS = 5
_TIME_OPTION = "--time-col"


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(Plan):
    """What the user asked for.

    Attributes:
        drop: Columns not to learn from.
        calibration: None takes the classifier's own probabilities.
        time_column: Its latest rows are the holdout and it is not learnt from; None holds back at random.
        cross_validate: Number of folds; None does without.
        search: Number of settings of the algorithm to try; None takes ours.
    """

    drop: Sequence[str] = ()
    algorithm: Algorithm = Algorithm.LOGISTIC
    calibration: Calibration | None = None
    time_column: str | None = None
    cross_validate: int | None = None
    search: int | None = None
    seed: int = 0


def _tell_nobody(_done: int, _total: int, _best: float) -> None:
    pass


def train(plan: TrainingPlan, report: Report = _tell_nobody) -> Trained:
    """Train a model; `report` is told how far a search is.

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
    outcome = _learn(plan, table, columns.features, labels, report)
    manifest = _describe(plan, table, labels, columns, outcome)
    files = assemble(
        manifest,
        build_graph(outcome.fitted),
        table,
        outcome.probability,
        reference_rows=outcome.split.fit_rows,
        holdout_rows=outcome.split.test_rows,
        found=outcome.found,
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
    found: Found | None


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


def _learn(
    plan: TrainingPlan, table: Table, features: Sequence[Feature], labels: Labels, report: Report
) -> _Outcome:
    matrix, churned = encode_table(table, features), labels.churned
    split = (
        split_at_random(churned, plan.seed)
        if plan.time_column is None
        else split_by_time(table, plan.time_column, churned)
    )
    recipe = Recipe(plan.algorithm, features, plan.seed, plan.calibration)
    found = None
    if plan.search is not None:
        parts = list(folds(split, churned, plan.cross_validate or _SEARCH_FOLDS, plan.seed))
        found = search(recipe, matrix, churned, parts, count=plan.search, report=report)
        recipe = replace(recipe, parameters=found.chosen.parameters)
    validation = None
    if plan.cross_validate is not None:
        parts = list(folds(split, churned, plan.cross_validate, plan.seed))
        validation = _cross_validate(recipe, matrix, churned, parts)
    fitted = fit(recipe, matrix[split.fit_rows], churned[split.fit_rows])
    probability = predict(fitted, matrix)
    test_rows = split.test_rows
    metrics = msgspec.structs.replace(
        measure(churned[test_rows], probability[test_rows], train_rows=len(split.fit_rows)),
        holdout_from=split.holdout_from,
        cross_validation=validation,
    )
    return _Outcome(fitted, probability, split, metrics, found)


def _cross_validate(
    recipe: Recipe, matrix: Matrix, churned: Churned, parts: Sequence[tuple[Indices, Indices]]
) -> CrossValidation:
    measured = []
    for fit_rows, test_rows in parts:
        fitted = fit(recipe, matrix[fit_rows], churned[fit_rows])
        probability = predict(fitted, matrix[test_rows])
        measured.append(measure(churned[test_rows], probability, train_rows=len(fit_rows)))
    return spread(measured)


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
