"""From a user's own fitted pipeline to the files of a bundle: read, trace, build, hold against it.

The bundle is like any other: one coded matrix in. What the pipeline does to each column is in the graph, and
the numbers' centring and scaling in the features, as the pipeline's own scaler does it. The data says what
the columns hold, and every row of it must come out of the graph as it comes out of the pipeline.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from churn_serving.bundle.schema import (
    GOLDEN_TOLERANCE,
    Boolean,
    Categorical,
    Feature,
    Manifest,
    Metrics,
    Numeric,
)
from churn_serving.bundle.write import write_files
from churn_serving.errors import DataError
from churn_serving.scorer import Scorer
from churn_serving.train.assemble import Trained, assemble, created, encode_table, libraries
from churn_serving.train.calibration import Floats
from churn_serving.train.columns import Columns, Ignored, decide_columns, holds_dates
from churn_serving.train.estimates import singles_of, trace_classifier
from churn_serving.train.evaluate import measure
from churn_serving.train.onnx_estimates import build_traced
from churn_serving.train.onnx_graph import is_exact
from churn_serving.train.onnx_terms import set_scales, used_features
from churn_serving.train.plan import Plan
from churn_serving.train.table import Table, drop_unlabelled, read_labels, read_table, require_column
from churn_serving.train.terms import Number, Term, Text
from churn_serving.train.trace import Source
from churn_serving.train.user_pipeline import (
    algorithm_of,
    classes_of,
    input_names,
    learnt_values,
    positive_class,
    probabilities,
    to_frame,
    unwrap,
)

MAX_TEXTS = 1000
"""Different texts in a column at most: each becomes a row of a table."""


class ExportPlan(Plan):
    """What the user asked for.

    `data` are customers that the pipeline was not fitted on: the metrics and the bundle's reference come from
    them. `categorical` are the columns of numbers that it was given as text.
    """


def export_pipeline(pipeline: Any, out: Path, plan: ExportPlan) -> Trained:
    """Convert a fitted pipeline and write it to `out` as a bundle.

    Raises:
        DataError: As `export`.
    """
    exported = export(pipeline, plan)
    write_files(out, exported.files)
    return exported


def export(pipeline: Any, plan: ExportPlan) -> Trained:
    """Convert a fitted pipeline.

    Args:
        pipeline: A scikit-learn Pipeline whose last step is a classifier of two classes, fitted on a
            DataFrame; or a search over such pipelines, or a calibration or soft vote of them.
        plan: The data and what it means.

    Raises:
        DataError: A step cannot be converted, named with the reason; the data does not suit the pipeline; or
            a row's probability is another than the pipeline's.
    """
    pipeline = unwrap(pipeline)
    whole = read_table(plan.data)
    require_column(whole, plan.target, "--target")
    names = input_names(pipeline, whole, plan.target)
    table = drop_unlabelled(whole, plan.target)
    labels = read_labels(table, plan.target, plan.positive)
    learnt = learnt_values(pipeline)
    columns = _decide(table, names, plan, learnt)
    frame = to_frame(columns.features, pipeline.feature_names_in_, table, learnt)
    positive = positive_class(pipeline, plan.positive)
    expected = probabilities(pipeline, frame, positive)
    features, model = _build(pipeline, columns, frame, learnt)
    scorer = Scorer(model, features=len(features), positive=positive)
    _hold_against(expected, scorer.probabilities(encode_table(table, features)))
    manifest = _describe(
        pipeline, plan, columns, features,
        metrics=measure(labels.churned, expected, train_rows=0), data_digest=table.digest,
    )  # fmt: skip
    every = np.arange(table.rows)
    files = assemble(manifest, model, table, expected, reference_rows=every, holdout_rows=every)
    return Trained(files, manifest, table, columns.ignored, whole.rows - table.rows)


def _describe(
    pipeline: Any,
    plan: ExportPlan,
    columns: Columns,
    features: list[Feature],
    *,
    metrics: Metrics,
    data_digest: str,
) -> Manifest:
    classes = classes_of(pipeline)
    return Manifest(
        format_version=1,
        name=plan.name,
        version=plan.version,
        created=created(),
        algorithm=f"{algorithm_of(pipeline)} (exported)",
        id=plan.id_column,
        target=plan.target,
        ignored=[column.name for column in columns.ignored],
        features=features,
        classes=classes,
        positive=classes[positive_class(pipeline, plan.positive)],
        threshold=plan.threshold,
        seed=0,
        metrics=metrics,
        libraries=libraries(pandas=pd.__version__),
        data_digest=data_digest,
    )


def _decide(
    table: Table, names: Sequence[str], plan: ExportPlan, learnt: Mapping[str, Collection[Any]]
) -> Columns:
    if plan.id_column is not None:
        require_column(table, plan.id_column, "--id")
    for name in plan.categorical:
        require_column(table, name, "--categorical")
    apart = {plan.target, plan.id_column}
    others = [name for name in table.columns if name not in {*names, *apart}]
    try:
        columns = decide_columns(
            table, target=plan.target, id_column=plan.id_column, drop=others,
            categorical=[*plan.categorical, *_learnt_as_texts(learnt)], max_categories=MAX_TEXTS,
        )  # fmt: skip
    except DataError as error:
        told = str(error).partition("\nAdd: ")[0]
        raise DataError(f"{told}\nThe pipeline looks at them: fit it without") from None
    constant = [column for column in columns.ignored if column.name in names]
    if constant:
        raise DataError(
            f"column {constant[0].name!r} is {constant[0].why}; the data must show what it can hold"
        )
    columns.ignored = [Ignored(column.name, "no column of the pipeline") for column in columns.ignored]
    columns.features = [_with_learnt(feature, learnt.get(feature.name, ())) for feature in columns.features]
    return columns


def _learnt_as_texts(learnt: Mapping[str, Collection[Any]]) -> list[str]:
    """Columns whose numbers or flags an encoder was given as texts: it does not know them otherwise."""
    found = []
    for name, values in learnt.items():
        texts = [value for value in values if value is not None]
        if texts and all(isinstance(value, str) for value in texts) and not holds_dates(texts):
            found.append(name)
    return found


def _with_learnt(feature: Feature, values: Collection[Any]) -> Feature:
    if not isinstance(feature, Categorical):
        return feature
    texts = {value.strip() for value in values if isinstance(value, str)}
    return msgspec.structs.replace(feature, categories=sorted({*feature.categories, *texts}))


def _build(
    pipeline: Any, columns: Columns, frame: pd.DataFrame, learnt: Mapping[str, Collection[Any]]
) -> tuple[list[Feature], bytes]:
    """The features that the pipeline looks at, and the graph; the others become ignored."""
    features = {feature.name: feature for feature in columns.features}
    source = Source(features, frame, learnt)
    terms: list[Term] = [_as_it_comes(name, features.get(name)) for name in frame.columns]
    estimate = trace_classifier(pipeline, terms, source, "")
    singles = list(singles_of(estimate))
    terms = [term for single in singles for term in single.terms]
    exact = [term for single in singles if is_exact(single.classifier) for term in single.terms]
    used = used_features(terms)
    columns.ignored += [
        Ignored(name, "the pipeline does not use it") for name in features if name not in used
    ]
    kept = set_scales([feature for name, feature in features.items() if name in used], terms, exact)
    return kept, build_traced(kept, estimate)


def _as_it_comes(name: str, feature: Feature | None) -> Term:
    return Number(name) if isinstance(feature, Numeric | Boolean) else Text(name)


def _hold_against(expected: Floats, found: Floats) -> None:
    deviation = np.nan_to_num(np.abs(found - expected), nan=np.inf)
    wrong = int((deviation > GOLDEN_TOLERANCE).sum())
    if wrong:
        raise DataError(
            f"the graph gives {wrong:,} of {len(expected):,} rows another probability than the pipeline, by"
            f" up to {deviation.max():.2g}. Where numbers are large or close to each other, put a"
            " StandardScaler first: float32 tells them apart then. Code of your own must look at one column"
            " of texts at a time. A step that skl2onnx converts may differ too: see which by leaving it out"
        )
