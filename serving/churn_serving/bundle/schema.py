"""What the files of a bundle say: model.json, golden.jsonl and reference.json as types.

The loader and the writer share them, so that nothing can be written that would not load.
"""

import math
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

FORMAT_VERSION = 1
GOLDEN_TOLERANCE = 1e-5
MIN_GOLDEN_ROWS = 32

MAX_NAME = 256

Text = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]


class Numeric(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="numeric"):
    """A number. The matrix holds `(value - centre) / scale` as float32, NaN where it is missing.

    `minimum` and `maximum` are the training range: outside it a value is counted, never refused.
    """

    name: Text
    nullable: bool
    minimum: float
    maximum: float
    centre: float
    scale: float
    typical: float

    def __post_init__(self) -> None:
        if not self.scale > 0 or not math.isfinite(self.scale):
            raise ValueError(f"scale of {self.name!r} must be above 0")
        if self.minimum > self.maximum:
            raise ValueError(f"minimum of {self.name!r} is above its maximum")


class Boolean(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="boolean"):
    """True or false. The matrix holds 1 or 0, NaN where it is missing."""

    name: Text
    nullable: bool
    typical: bool


class Categorical(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="categorical"):
    """One of the texts seen in training. The matrix holds its position in `categories`.

    A text never seen is -1; a missing one is `len(categories)`.
    """

    name: Text
    nullable: bool
    categories: Annotated[list[str], Meta(min_length=1)]
    typical: str

    def __post_init__(self) -> None:
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"categories of {self.name!r} repeat")
        if self.typical not in self.categories:
            raise ValueError(f"typical value of {self.name!r} is none of its categories")


Feature = Numeric | Boolean | Categorical


class Spread(Struct, frozen=True, forbid_unknown_fields=True):
    """A metric over the folds of a cross-validation: mean and sample standard deviation."""

    mean: float
    deviation: float


class CrossValidation(Struct, frozen=True, forbid_unknown_fields=True):
    """The training rows in `folds` parts, each measured with a model fitted on others."""

    folds: Annotated[int, Meta(ge=2)]
    auc: Spread
    average_precision: Spread
    brier: Spread
    lift_top_decile: Spread


class Metrics(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the model did on rows it was not trained on.

    `lift_top_decile` is the share of churners among the tenth with the highest probability, over the share
    among all. `holdout_from` is the first time of the holdout, where it is later than all training rows.
    """

    train_rows: Count
    holdout_rows: Count
    churn_rate: Share
    auc: Share
    average_precision: Share
    brier: Share
    lift_top_decile: float
    holdout_from: str | None = None
    cross_validation: CrossValidation | None = None


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """model.json. `target`, `id` and the `ignored` columns are accepted in a record and not scored."""

    format_version: Literal[1]
    name: Text
    version: Text
    algorithm: Text
    features: Annotated[list[Feature], Meta(min_length=1)]
    target: Text
    ignored: list[Text]
    classes: tuple[Text, Text]
    positive: Text
    threshold: Annotated[float, Meta(gt=0, lt=1)]
    seed: int
    metrics: Metrics
    libraries: dict[str, str]
    data_digest: Text
    id: Text | None = None
    calibration: Text | None = None
    created: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        names = [*(feature.name for feature in self.features), *self.accepted]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"columns are named twice: {', '.join(repeated)}")
        if self.positive not in self.classes or self.classes[0] == self.classes[1]:
            raise ValueError("classes must be two different names, one of them `positive`")

    @property
    def accepted(self) -> list[str]:
        """Columns that a record may carry and that are not scored."""
        return [*self.ignored, self.target, *([self.id] if self.id else [])]

    @property
    def positive_index(self) -> int:
        """Which column of the graph's output is the probability of churn."""
        return self.classes.index(self.positive)


class GoldenRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A real training record and the probability that the training framework gave it."""

    record: dict[str, Any]
    probability: Share


class NumericReference(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="numeric"):
    """Rows per bin: below edges[0], between each two, from the last edge up; in the column's own unit."""

    edges: list[float]
    counts: list[Count]
    missing: Count


class CategoryReference(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="category"):
    """Rows per category in the manifest's order; for a boolean false, then true."""

    counts: list[Count]
    missing: Count


FeatureReference = NumericReference | CategoryReference


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """reference.json: features over the training rows, `score` over the holdout, unseen by the model."""

    rows: Count
    features: dict[str, FeatureReference]
    score: NumericReference


def check_reference(manifest: Manifest, reference: Reference) -> None:
    """Raise ValueError where the reference does not speak of exactly this model's features."""
    if set(reference.features) != {feature.name for feature in manifest.features}:
        raise ValueError("it must hold exactly the features of model.json")
    for feature in manifest.features:
        binned = reference.features[feature.name]
        if len(binned.counts) != _bins(feature, binned):
            raise ValueError(f"bins of {feature.name!r} do not fit its kind")


def _bins(feature: Feature, binned: FeatureReference) -> int:
    match feature, binned:
        case Numeric(), NumericReference():
            return len(binned.edges) + 1
        case Boolean(), CategoryReference():
            return 2
        case Categorical(), CategoryReference():
            return len(feature.categories)
    return -1
