"""Two models on the same labelled rows: how good each is, how sure that is, and whose decision differs."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from churn_serving.bundle.schema import Numeric
from churn_serving.errors import DataError
from churn_serving.model import Model
from churn_serving.scorer import publish
from churn_serving.train.calibration import Floats
from churn_serving.train.labelled import encode_accepted
from churn_serving.train.table import Table, drop_unlabelled, read_labels, require_column

MIN_SEGMENT_ROWS = 30
_INTERVAL = (2.5, 97.5)

_METRICS: Mapping[str, Callable[..., float]] = {
    "AUC": roc_auc_score,
    "average precision": average_precision_score,
    "Brier score": brier_score_loss,
}


class Interval(NamedTuple):
    """A value on all rows, and between what 95 % of the resamples lie."""

    value: float
    low: float
    high: float


class MetricPair(NamedTuple):
    """One metric of both models, and B's less A's on the same resamples."""

    name: str
    first: Interval
    second: Interval
    difference: Interval


class Segment(NamedTuple):
    """Customers with one value in one column, and how many of them B decides otherwise than A."""

    column: str
    value: str
    rows: int
    to_churn: int
    to_stay: int


class Comparison(NamedTuple):
    """What `compare` found.

    Attributes:
        rows: Rows that both models score.
        left_out: Labelled rows that one of them rejects.
        segments: Where decisions differ, the largest share first; the first is all rows.
    """

    rows: int
    left_out: int
    metrics: list[MetricPair]
    segments: list[Segment]


def compare(first: Model, second: Model, table: Table, *, resamples: int, seed: int) -> Comparison:
    """Compare.

    Args:
        first: Its target says who churned.
        second: Must have the same target and positive value.
        table: Labelled customers whom neither model was trained on, one hopes.
        resamples: Number of bootstrap samples of the rows.
        seed: Decides which.

    Raises:
        DataError: The models answer different questions, or the file does not suit both.
    """
    told = [(model.manifest.target, model.manifest.positive) for model in (first, second)]
    if told[0] != told[1]:
        raise DataError(f"the models predict different things: {told[0]!r} and {told[1]!r}")
    target, positive = told[0]
    require_column(table, target, "the models' target")
    labelled = drop_unlabelled(table, target)
    churned = read_labels(labelled, target, positive, least=1).churned
    scores = [_score(model, labelled) for model in (first, second)]
    both = ~np.isnan(scores[0]) & ~np.isnan(scores[1])
    if len(set(churned[both].tolist())) < 2:
        raise DataError("the rows that both models score are all of one outcome")
    pair = (scores[0][both], scores[1][both])
    decisions = [
        score >= model.manifest.threshold for score, model in zip(pair, (first, second), strict=True)
    ]
    rows = np.flatnonzero(both)
    return Comparison(
        len(rows),
        labelled.rows - len(rows),
        _measure(churned[both], pair, resamples, seed),
        _segments(first, labelled, rows, decisions[1].astype(int) - decisions[0]),
    )


def _score(model: Model, table: Table) -> Floats:
    """Per row; NaN where the model rejects it."""
    kept, matrix = encode_accepted(model, table)
    scores = np.full(table.rows, np.nan)
    if len(kept):
        scores[kept] = publish(model.scorer.probabilities(matrix))
    return scores


def _measure(
    churned: npt.NDArray[np.bool_], pair: tuple[Floats, Floats], resamples: int, seed: int
) -> list[MetricPair]:
    rng = np.random.default_rng(seed)
    samples = [np.arange(len(churned))]
    while len(samples) <= resamples:
        sample = rng.integers(0, len(churned), len(churned))
        if 0 < churned[sample].sum() < len(sample):
            samples.append(sample)
    metrics = []
    for name, metric in _METRICS.items():
        values = np.array([[metric(churned[rows], score[rows]) for score in pair] for rows in samples])
        first, second = values.T
        metrics.append(MetricPair(name, _interval(first), _interval(second), _interval(second - first)))
    return metrics


def _interval(values: Floats) -> Interval:
    """The first value is that of all rows, the others are of resamples."""
    low, high = np.percentile(values[1:], _INTERVAL)
    return Interval(float(values[0]), float(low), float(high))


def _segments(
    model: Model, table: Table, rows: npt.NDArray[np.intp], change: npt.NDArray[np.int_]
) -> list[Segment]:
    found = []
    for feature in model.manifest.features:
        if isinstance(feature, Numeric):
            continue
        cells = np.array(table.columns[feature.name])[rows]
        for value in np.unique(cells):
            segment = _segment(feature.name, str(value), change[cells == value])
            if segment.rows >= MIN_SEGMENT_ROWS and segment.to_churn + segment.to_stay:
                found.append(segment)
    found.sort(key=lambda segment: -(segment.to_churn + segment.to_stay) / segment.rows)
    return [_segment("all", "", change), *found]


def _segment(column: str, value: str, change: Sequence[int] | npt.NDArray[np.int_]) -> Segment:
    changes = np.asarray(change)
    return Segment(column, value, len(changes), int((changes == 1).sum()), int((changes == -1).sum()))
