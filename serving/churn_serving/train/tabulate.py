"""Tables of what a transformer makes of columns with few values, found by asking it.

A category has a hundred values at most, so whatever a transformer does with one column (one-hot, ordinal or
target codes, an imputer before them, a function of the user's own) is a table, and needs no conversion.
Columns are varied one at a time; a transformer that mixes columns shows itself.
"""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from churn_serving.bundle.schema import Categorical, Feature
from churn_serving.errors import DataError
from churn_serving.train.calibration import Floats
from churn_serving.train.terms import Lookup, spellings

_NEVER_SEEN = "a text that was never seen"


@dataclass(frozen=True)
class Domain:
    """The values of one column.

    Attributes:
        values: As the pipeline takes them.
        keys: As the bundle's matrix holds them.
        typical: What the column is while another one is varied, and what stands for a value that the
            transformer refuses.
    """

    name: str
    values: Sequence[Any]
    keys: Sequence[float]
    typical: Any
    unseen: Any
    nullable: bool
    missing: Any = np.nan


def domain_of(feature: Feature, column: pd.Series, learnt: Collection[Any]) -> Domain:
    """The values of a column: the categories, or the different numbers of the data and those `learnt`."""
    if isinstance(feature, Categorical):
        keys = [float(code) for code in range(len(feature.categories))]
        spelt = spellings(learnt)
        texts = [spelt.get(text, text) for text in feature.categories]
        typical = spelt.get(feature.typical, feature.typical)
        missing = None if None in learnt else np.nan
        return Domain(feature.name, texts, keys, typical, _NEVER_SEEN, feature.nullable, missing)
    values = sorted({*column.dropna().tolist(), *learnt} - {None})
    unseen = max(values) + 1 if not isinstance(values[0], bool) else None
    keys = [float(value) for value in values]
    return Domain(feature.name, values, keys, feature.typical, unseen, feature.nullable)


def tabulate(transformer: Any, domains: Sequence[Domain], told: str) -> list[Lookup]:
    """One lookup for each column that the transformer gives.

    Raises:
        DataError: It mixes columns or gives no numbers; `told` names it.
    """
    outputs = [_ask(transformer, domains, place, told) for place in range(len(domains))]
    lookups = []
    for column in range(outputs[0].given.shape[1]):
        asked = [answers.column(column) for answers in outputs]
        varying = [place for place, answers in enumerate(asked) if answers.varies]
        if len(varying) > 1:
            names = " and ".join(repr(domains[place].name) for place in varying[:2])
            raise DataError(f"{told} mixes the columns {names}; only functions of one column each are known")
        place = varying[0] if varying else 0
        lookups.append(asked[place].lookup(domains[place]))
    return lookups


@dataclass(frozen=True)
class _Answers:
    """What the transformer gives with one column varied: rows are its values, then unseen, then missing."""

    given: Floats
    unseen: Floats
    missing: Floats

    def column(self, at: int) -> "_Answers":
        return _Answers(self.given[:, at], self.unseen[at], self.missing[at])

    @property
    def varies(self) -> bool:
        every = np.concatenate([self.given, [self.unseen], [self.missing]])
        return not np.array_equal(every, np.full_like(every, every[0]), equal_nan=True)

    def lookup(self, domain: Domain) -> Lookup:
        values = tuple(map(float, self.given))
        return Lookup(domain.name, tuple(domain.keys), values, float(self.unseen), float(self.missing))


def _ask(transformer: Any, domains: Sequence[Domain], place: int, told: str) -> _Answers:
    domain = domains[place]
    typical, *values = _transform(transformer, domains, place, domain.values, told)
    try:
        unseen = _transform(transformer, domains, place, [domain.unseen], told)[1]
    except DataError:  # handle_unknown="error": the server does not refuse a customer for it
        unseen = typical
    missing = unseen
    if domain.nullable:
        missing = _transform(transformer, domains, place, [domain.missing], told)[1]
    return _Answers(np.array(values), unseen, missing)


def _transform(
    transformer: Any, domains: Sequence[Domain], place: int, values: Sequence[Any], told: str
) -> Floats:
    """Outputs for the typical row, then for each value."""
    columns = {
        domain.name: [domain.typical, *(values if at == place else [domain.typical] * len(values))]
        for at, domain in enumerate(domains)
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of categories not seen: that is what is asked
            frame = pd.DataFrame(columns, dtype=object if None in values else None)
            given = transformer.transform(frame)
            return np.asarray(given.toarray() if hasattr(given, "toarray") else given, dtype=np.float64)
    except Exception as error:  # noqa: BLE001 (the user's own code may raise anything)
        raise DataError(f"{told} does not take {domains[place].name!r}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
