"""What a fitted pipeline makes of each column, said so that a graph can do the same.

A term is one column of a matrix inside the pipeline. Terms name features, and are values: tracing a pipeline
builds terms, nothing else.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from churn_serving.train.graph import Graph


@dataclass(frozen=True)
class Text:
    """A categorical column as it comes. No classifier takes it."""

    feature: str


@dataclass(frozen=True)
class Number:
    """`(value - centre) / scale`; where the value is missing `fill`, NaN if nothing fills it."""

    feature: str
    centre: float = 0.0
    scale: float = 1.0
    fill: float = np.nan

    @property
    def is_raw(self) -> bool:
        """Whether it is the column as it comes."""
        return (self.centre, self.scale) == (0.0, 1.0) and np.isnan(self.fill)


@dataclass(frozen=True)
class Lookup:
    """A function of a column that takes few values.

    Attributes:
        keys: The values as the bundle's matrix holds them: a category's code, else the number itself.
        values: What each becomes.
        unseen: What any other becomes.
        missing: What a missing one becomes.
    """

    feature: str
    keys: tuple[float, ...]
    values: tuple[float, ...]
    unseen: float
    missing: float

    @property
    def hot(self) -> float | None:
        """The key of a one-hot column: 1 for that key, 0 for all else."""
        ones = [key for key, value in zip(self.keys, self.values, strict=True) if value == 1]
        others = {*self.values, self.unseen, self.missing} - {1.0}
        is_hot = len(ones) == 1 and others <= {0.0} and self.missing == 0 == self.unseen
        return ones[0] if is_hot else None


@dataclass(frozen=True, eq=False)
class Step:
    """A transformer that takes whole rows: `add` puts it into a graph, from its inputs' tensor to its own."""

    inputs: Sequence["Term"]
    add: Callable[[Graph, str], str]


@dataclass(frozen=True)
class Computed:
    """A column of what a step gives."""

    step: Step
    column: int


Term: TypeAlias = Text | Number | Lookup | Computed


def spellings(learnt: Collection[Any]) -> dict[str, str]:
    """How the pipeline learnt texts that have blanks around them in its data and none in a bundle."""
    texts = {value for value in learnt if isinstance(value, str)}
    return {text.strip(): text for text in texts if text.strip() not in texts}


def rescale(term: Term, centre: float, scale: float) -> Term | None:
    """The term less `centre`, over `scale`; None where it is not known by its column alone."""

    def scaled(value: float) -> float:
        return float((value - centre) / scale)

    match term:
        case Number():
            if term.is_raw:  # as the scaler computes it, to the last bit
                return replace(term, centre=float(centre), scale=float(scale))
            return Number(
                term.feature,
                float(term.centre + term.scale * centre),
                float(term.scale * scale),
                scaled(term.fill),
            )
        case Lookup():
            values = tuple(scaled(value) for value in term.values)
            return replace(term, values=values, unseen=scaled(term.unseen), missing=scaled(term.missing))
    return None


def fill_missing(term: Term, value: float) -> Term | None:
    """The term with `value` in place of NaN; None where it is not known by its column alone."""
    match term:
        case Number():
            return replace(term, fill=float(value)) if np.isnan(term.fill) else term
        case Lookup():
            values = tuple(float(value) if np.isnan(each) else each for each in term.values)
            unseen, missing = (
                float(value) if np.isnan(each) else each for each in (term.unseen, term.missing)
            )
            return replace(term, values=values, unseen=unseen, missing=missing)
    return None


def is_missing(term: Number) -> Lookup:
    """1 where the column is missing, else 0."""
    return Lookup(term.feature, (), (), 0.0, 1.0)
