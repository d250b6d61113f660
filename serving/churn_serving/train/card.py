"""The model card: what the model is for people who did not train it."""

# ruff: noqa: E501 (rows of a Markdown table are lines)

from churn_serving.bundle.schema import (
    Boolean,
    Categorical,
    CrossValidation,
    Feature,
    Manifest,
    Metrics,
    Spread,
)
from churn_serving.train.search import Found


def build_card(manifest: Manifest, found: Found | None = None) -> str:
    """Markdown; `found` is what a search of settings found."""
    metrics = manifest.metrics
    ignored = ", ".join(f"`{name}`" for name in manifest.ignored) or "none"
    features = "\n".join(_row(feature) for feature in manifest.features)
    return f"""# {manifest.name} {manifest.version}

Estimates how probable it is that a customer churns: that `{manifest.target}` is `{manifest.positive}`.
Algorithm: {manifest.algorithm}{_calibrated(manifest)}{_seeded(manifest)}. A customer counts as churning from a probability of {manifest.threshold}.

## How good it is
{_holdout(metrics)}

| metric | value | says |
|---|---|---|
| AUC | {metrics.auc:.4f} | 0.5 is guessing, 1 is perfect ranking |
| average precision | {metrics.average_precision:.4f} | {metrics.churn_rate:.4f} is guessing |
| Brier score | {metrics.brier:.4f} | mean squared error of the probability; smaller is better |
| lift in the top decile | {metrics.lift_top_decile:.2f} | churners among the tenth with the highest probability, times the average |
{_validation(metrics.cross_validation)}{_search(found)}
## What it looks at
| column | kind | may be missing | in training | typical |
|---|---|---|---|---|
{features}

The id column: {f"`{manifest.id}`" if manifest.id else "none"}. Accepted and not scored: {ignored}.
A value outside the training range is scored and counted; so is a category never seen, which counts as none of the known.

## Where it comes from
Training data: {manifest.data_digest}. {", ".join(f"{name} {version}" for name, version in manifest.libraries.items())}.
"""


def _seeded(manifest: Manifest) -> str:
    return f", seed {manifest.seed}" if manifest.metrics.train_rows else ""


def _calibrated(manifest: Manifest) -> str:
    return f", calibrated ({manifest.calibration})" if manifest.calibration else ""


def _holdout(metrics: Metrics) -> str:
    if metrics.holdout_from is not None:
        return f"""On {metrics.holdout_rows:,} customers from {metrics.holdout_from} on, {metrics.churn_rate:.1%} of them churners. The {metrics.train_rows:,} used to train
are all earlier."""
    if not metrics.train_rows:
        return f"""On {metrics.holdout_rows:,} customers given to the export, {metrics.churn_rate:.1%} of them churners. What the pipeline was fitted
on is not known here; the metrics flatter it where these customers were among them."""
    return f"""On {metrics.holdout_rows:,} customers held back from training, chosen so that the share of churners ({metrics.churn_rate:.1%}) is the same
in both parts; {metrics.train_rows:,} were used to train."""


def _validation(validation: CrossValidation | None) -> str:
    if validation is None:
        return ""
    return f"""
Cross-validated on {validation.folds} parts of the training rows, mean ± deviation: AUC {_spread(validation.auc)}, average precision
{_spread(validation.average_precision)}, Brier score {_spread(validation.brier)}, lift in the top decile {_spread(validation.lift_top_decile)}.
"""


def _search(found: Found | None) -> str:
    if found is None:
        return ""
    default, chosen = found.candidates[0], found.chosen
    space = "\n".join(
        f"| `{name}` | {', '.join(map(str, values))} | {chosen.parameters.get(name, 'the default')} |"
        for name, values in found.space.items()
    )
    return f"""
Settings chosen by AUC among the defaults and {len(found.candidates) - 1} others, drawn at random and each cross-validated on {found.folds} parts of the
training rows: {chosen.auc:.4f}, the defaults {default.auc:.4f}. The customers held back had no say.

| setting | tried | chosen |
|---|---|---|
{space}
"""


def _spread(spread: Spread) -> str:
    return f"{spread.mean:.4f} ± {spread.deviation:.4f}"


def _row(feature: Feature) -> str:
    match feature:
        case Categorical():
            seen = f"{len(feature.categories)}: " + ", ".join(feature.categories[:8])
            seen += ", …" if len(feature.categories) > 8 else ""
            typical = feature.typical
        case Boolean():
            seen, typical = "true, false", str(feature.typical).lower()
        case _:
            seen, typical = f"{feature.minimum:g} to {feature.maximum:g}", f"{feature.typical:g}"
    cells = (feature.name, feature.__struct_config__.tag, "yes" if feature.nullable else "no", seen, typical)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
