"""A user's fitted pipeline: what it is, which columns it takes, what it says of customers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline

from churn_serving.bundle.schema import Boolean, Categorical, Feature, Numeric
from churn_serving.errors import DataError
from churn_serving.features import is_missing, parse_cell, parse_number
from churn_serving.train.calibration import Floats
from churn_serving.train.estimates import fitted_in, pipelines_in
from churn_serving.train.table import Table, require_column
from churn_serving.train.terms import spellings
from churn_serving.train.trace import positions


def unwrap(given: Any) -> Any:
    """The fitted classifying pipeline in what the user gave: itself, or the best of a search.

    It may also be a classifier made of pipelines, or one that was fitted on numbers without any.

    Raises:
        DataError: It is none.
    """
    given = fitted_in(given)
    if isinstance(given, TunedThresholdClassifierCV | FixedThresholdClassifier):
        threshold = getattr(given, "best_threshold_", getattr(given, "threshold", "auto"))
        at = "" if threshold == "auto" else f" with --threshold {threshold:.6g}"
        raise DataError(
            f"this is a {type(given).__name__}, whose threshold a bundle keeps apart from its graph: "
            f"export its `estimator_`{at}"
        )
    if not isinstance(given, BaseEstimator):
        raise DataError(
            f"this is a {type(given).__name__}, not a scikit-learn Pipeline: put the preparation and the"
            " classifier into one, so that the bundle holds both"
        )
    last = given.steps[-1][1] if isinstance(given, Pipeline) else given
    if not hasattr(last, "predict_proba"):
        told = (
            f"step {given.steps[-1][0]!r} ({type(last).__name__})"
            if last is not given
            else f"a {type(last).__name__}"
        )
        raise DataError(
            f"{told} gives no probabilities; the last step must be a classifier with predict_proba"
        )
    if len(getattr(last, "classes_", ())) != 2:
        raise DataError("the pipeline is not fitted, or on other than two classes; a bundle tells two apart")
    return given


def algorithm_of(pipeline: Any) -> str:
    """What the classifier is called."""
    return type(pipeline.steps[-1][1] if isinstance(pipeline, Pipeline) else pipeline).__name__


def input_names(pipeline: Any, table: Table, target: str) -> list[str]:
    """The columns that it looks at.

    Raises:
        DataError: The table lacks one, or the target is among them.
    """
    names = getattr(pipeline, "feature_names_in_", None)
    if names is None:
        raise DataError("the pipeline was fitted without names of columns; fit it on a pandas DataFrame")
    firsts = [each.steps[0][1] for each in pipelines_in(pipeline)]
    if firsts and all(isinstance(first, ColumnTransformer) for first in firsts):
        kept = {name for first in firsts for name in _kept(first, names)}
        names = [name for name in names if name in kept]  # what it drops need not even be there
    for name in names:
        require_column(table, str(name), "the pipeline's columns")
        if name == target:
            raise DataError(f"the pipeline was fitted on its own target {target!r}")
    return [str(name) for name in names]


def _kept(transformer: ColumnTransformer, names: Sequence[str]) -> set[str]:
    return {
        names[at]
        for _, part, columns in transformer.transformers_
        if part != "drop"
        for at in positions(columns, names)
    }


def learnt_values(pipeline: Any) -> dict[str, set[Any]]:
    """The values that encoders were fitted on, by column: the data may lack rare ones."""
    found: dict[str, set[Any]] = {}
    for each in pipelines_in(pipeline):
        first = each.steps[0][1]
        if isinstance(first, ColumnTransformer):
            _gather_learnt(first, found)
    return found


def _gather_learnt(first: ColumnTransformer, found: dict[str, set[Any]]) -> None:
    for _, part, columns in first.transformers_:
        chosen = [first.feature_names_in_[at] for at in positions(columns, first.feature_names_in_)]
        for step in part.named_steps.values() if isinstance(part, Pipeline) else [part]:
            categories = getattr(step, "categories_", ())
            if len(categories) != len(chosen):
                continue
            for name, values in zip(chosen, categories, strict=True):
                known = found.setdefault(name, set())
                known.update(each for each in values.tolist() if not _is_missing(each))
                if None in values.tolist():  # an encoder tells None and NaN apart
                    known.add(None)


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and is_missing(value))  # noqa: PLR0124 (NaN)


def classes_of(pipeline: Any) -> tuple[str, str]:
    """The names of its classes, in its order."""
    first, second = (str(each) for each in pipeline.classes_.tolist())
    return first, second


def positive_class(pipeline: Any, positive: str) -> int:
    """Which of its classes is `positive`, as text in any case or as the same number.

    Raises:
        DataError: Neither.
    """
    classes = classes_of(pipeline)
    for at, name in enumerate(classes):
        if name == positive or (
            parse_number(name) is not None and parse_number(name) == parse_number(positive)
        ):
            return at
    for at, name in enumerate(classes):  # pandas reads true as True
        if name.lower() == positive.lower():
            return at
    raise DataError(f"--positive: the pipeline's classes are {classes[0]!r} and {classes[1]!r}")


def to_frame(
    features: Sequence[Feature], names: Sequence[str], table: Table, learnt: Mapping[str, Collection[Any]]
) -> pd.DataFrame:
    """The table as pandas reads such a file: whole numbers as integers, texts, true and false, NaN.

    Args:
        features: What the pipeline looks at.
        names: The columns that it was fitted on, in their order; those that it drops are empty.
        table: Holds the features' columns.
        learnt: Values that encoders were fitted on, by column: texts are spelt as there.
    """
    read = {feature.name: _series(feature, table, learnt.get(feature.name, ())) for feature in features}
    return pd.DataFrame({name: read.get(name, [np.nan] * table.rows) for name in names})


def _series(feature: Feature, table: Table, learnt: Collection[Any]) -> Any:
    cells = table.columns[feature.name]
    spelt = spellings(learnt)
    parsed = {cell: parse_cell(feature, cell) for cell in set(cells)}
    parsed |= {cell: spelt[cell] for cell in parsed.keys() & spelt.keys()}
    missing = None if None in learnt else np.nan
    values = [missing if parsed[cell] is None else parsed[cell] for cell in cells]
    match feature:
        case Categorical() if missing is None:
            return pd.Series(values, dtype=object)  # else pandas makes NaN of it
        case Numeric():
            numbers = np.array(values, dtype=np.float64)
            whole = not feature.nullable and np.array_equal(numbers, np.rint(numbers))
            return numbers.astype(np.int64) if whole and np.abs(numbers).max() < 1 << 53 else numbers
        case Boolean(nullable=False):
            return np.array(values, dtype=np.bool_)
    return values


def probabilities(pipeline: Any, frame: pd.DataFrame, positive: int) -> Floats:
    """Of churn per row, churn being its class at `positive`.

    Raises:
        DataError: It does not take these columns.
    """
    try:
        return np.asarray(pipeline.predict_proba(frame)[:, positive], dtype=np.float64)
    except Exception as error:  # noqa: BLE001 (the user's own code may raise anything)
        raise DataError(
            f"the pipeline does not score the data: {str(error)[:300]}. A column of codes that it was given"
            " as text is named with --categorical"
        ) from None
