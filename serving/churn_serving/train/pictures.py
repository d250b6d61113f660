"""The pictures of the model card as one SVG. The same numbers give the same bytes."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay, roc_auc_score

from churn_serving.errors import DataError
from churn_serving.features import Matrix
from churn_serving.model import Model
from churn_serving.train.calibration import Floats
from churn_serving.train.split import Churned

TOP = 12
_MOST_ROWS = 5000
_LOOK = {
    "svg.hashsalt": "churn-serving",  # else every drawing has ids of its own
    "svg.fonttype": "none",  # texts stay texts: small, searchable, read aloud
    "path.simplify_threshold": 1.0,  # a curve of thousands of points keeps those that a pixel tells apart
    "font.family": "sans-serif",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


class Weight(NamedTuple):
    """What a column is worth: the AUC lost where its values are dealt out among the customers anew."""

    column: str
    loss: float


def weigh(model: Model, matrix: Matrix, churned: Churned) -> list[Weight]:
    """The columns, the heaviest first; on 5,000 rows at most.

    Permutation importance after Breiman, "Random Forests" (2001): columns that say the same share one
    weight, so a light one may still be used.
    """
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(matrix))[:_MOST_ROWS]
    matrix, churned = matrix[rows], churned[rows]
    whole = roc_auc_score(churned, model.scorer.probabilities(matrix))
    weights = []
    for at, feature in enumerate(model.manifest.features):
        dealt = matrix.copy()
        dealt[:, at] = rng.permutation(dealt[:, at])
        loss = whole - roc_auc_score(churned, model.scorer.probabilities(dealt))
        weights.append(Weight(feature.name, round(float(loss), 6)))
    return sorted(weights, key=lambda weight: -weight.loss)


def draw(churned: Churned, probability: Floats, weights: Sequence[Weight]) -> str:
    """ROC, precision and recall, calibration, lift, the heaviest columns, the spread of probabilities.

    Raises:
        DataError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise DataError(
            f"{error.name} is not installed; pictures need: pip install 'churn-serving[card]'"
        ) from None
    with mpl.rc_context(_LOOK):
        figure = Figure(figsize=(13, 8), layout="constrained")  # no pyplot: no display, no global state
        (roc, recall, calibration), (lift, columns, spread) = figure.subplots(2, 3)
        RocCurveDisplay.from_predictions(churned, probability, ax=roc, name="model", plot_chance_level=True)
        roc.set(
            title="Who is ranked first (ROC)", xlabel="share of stayers taken for churners",
            ylabel="share of churners found",
        )  # fmt: skip
        PrecisionRecallDisplay.from_predictions(
            churned, probability, ax=recall, name="model", plot_chance_level=True
        )
        recall.set(
            title="Precision and recall", xlabel="share of churners found",
            ylabel="churners among those taken for one",
        )  # fmt: skip
        CalibrationDisplay.from_predictions(
            churned, probability, ax=calibration, name="model", n_bins=10, strategy="quantile"
        )
        calibration.set(
            title="Do probabilities come true", xlabel="probability, mean of a tenth",
            ylabel="share that churned",
        )  # fmt: skip
        _draw_lift(lift, churned, probability)
        _draw_columns(columns, weights[:TOP])
        _draw_spread(spread, churned, probability)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue().partition("<svg")[2].join(["<svg", ""])


def _draw_lift(axes: Any, churned: Churned, probability: Floats) -> None:
    count = min(10, len(churned))
    tenths = np.array_split(np.argsort(-probability, kind="stable"), count)
    lifts = [churned[tenth].mean() / churned.mean() for tenth in tenths]
    axes.bar(range(1, count + 1), lifts)
    axes.axhline(1, color="black", linestyle="--", linewidth=1)
    axes.set(
        title="Lift by tenth of customers", xlabel="tenth, the most probable first",
        ylabel="churners, times the average", xticks=range(1, count + 1),
    )  # fmt: skip


def _draw_columns(axes: Any, weights: Sequence[Weight]) -> None:
    upwards = list(reversed(weights))
    axes.barh([weight.column[:32] for weight in upwards], [weight.loss for weight in upwards])
    axes.set(title="What it looks at most", xlabel="AUC lost without the column")


def _draw_spread(axes: Any, churned: Churned, probability: Floats) -> None:
    bins = np.linspace(0, 1, 21)
    axes.hist(
        [probability[~churned], probability[churned]], bins=bins, stacked=True, label=["stayed", "churned"]
    )
    axes.set(title="Customers by probability", xlabel="probability of churn", ylabel="customers")
    axes.legend()
