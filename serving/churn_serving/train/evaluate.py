"""How good the model is on the holdout, and what the training data looked like."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from churn_serving.bundle.schema import (
    Boolean,
    Categorical,
    CategoryReference,
    CrossValidation,
    Feature,
    FeatureReference,
    Metrics,
    Numeric,
    NumericReference,
    Reference,
    Spread,
)
from churn_serving.features import parse_cell

_SCORE_BINS = 20
_DECILES = np.arange(0.1, 1.0, 0.1)

Labels = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def measure(churned: Labels, probability: Floats, *, train_rows: int) -> Metrics:
    """Metrics of `probability` against what happened, on rows that the model has not seen."""
    return Metrics(
        train_rows=train_rows,
        holdout_rows=len(churned),
        churn_rate=_round(churned.mean()),
        auc=_round(roc_auc_score(churned, probability)),
        average_precision=_round(average_precision_score(churned, probability)),
        brier=_round(brier_score_loss(churned, probability)),
        lift_top_decile=_round(_lift(churned, probability)),
    )


def spread(folds: Sequence[Metrics]) -> CrossValidation:
    """The metrics of each fold's rows as mean and deviation."""

    def over(values: Iterable[float]) -> Spread:
        every = np.array(list(values))
        return Spread(mean=_round(every.mean()), deviation=_round(every.std(ddof=1)))

    return CrossValidation(
        folds=len(folds),
        auc=over(fold.auc for fold in folds),
        average_precision=over(fold.average_precision for fold in folds),
        brier=over(fold.brier for fold in folds),
        lift_top_decile=over(fold.lift_top_decile for fold in folds),
    )


def build_reference(
    features: Sequence[Feature], train: Mapping[str, Sequence[str]], holdout_probability: Floats
) -> Reference:
    """Binned distributions: each feature over the training rows' cells, the probability over the holdout."""
    edges = np.round(np.linspace(0, 1, _SCORE_BINS + 1)[1:-1], 6)
    return Reference(
        rows=len(next(iter(train.values()))),
        features={feature.name: _bin(feature, train[feature.name]) for feature in features},
        score=_bin_numbers(edges, holdout_probability, missing=0),
    )


def _lift(churned: Labels, probability: Floats) -> float:
    """Share of churners in the tenth with the highest probability over that in all; ties in file order."""
    tenth = max(1, round(len(churned) / 10))
    top = np.argsort(-probability, kind="stable")[:tenth]
    return float(churned[top].mean() / churned.mean())


def _bin(feature: Feature, cells: Sequence[str]) -> FeatureReference:
    values = [value for value in (parse_cell(feature, cell) for cell in cells) if value is not None]
    missing = len(cells) - len(values)
    match feature:
        case Numeric():
            numbers = np.array(values, dtype=np.float64)
            edges = np.quantile(numbers, _DECILES, method="lower") if values else numbers
            return _bin_scaled(feature, np.unique(edges), numbers, missing=missing)
        case Boolean():
            counted = Counter(values)
            return CategoryReference(counts=[counted[False], counted[True]], missing=missing)
        case Categorical():
            counted = Counter(values)
            return CategoryReference(counts=[counted[name] for name in feature.categories], missing=missing)


def _bin_scaled(feature: Numeric, edges: Floats, values: Floats, *, missing: int) -> NumericReference:
    """Counted as the served ones are, rounded to float32: or values that fall together there would drift."""
    rounded, at = [((each - feature.centre) / feature.scale).astype(np.float32) for each in (values, edges)]
    counted = _bin_numbers(at.astype(np.float64), rounded.astype(np.float64), missing=missing)
    return msgspec.structs.replace(counted, edges=edges.tolist())


def _bin_numbers(edges: Floats, values: Floats, *, missing: int) -> NumericReference:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return NumericReference(edges=edges.tolist(), counts=counts.tolist(), missing=missing)


def _round(value: float) -> float:
    return round(float(value), 6)
