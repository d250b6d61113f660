"""Follows columns through a fitted scikit-learn pipeline: from the bundle's features to terms.

Scalers and imputers of numbers become part of a number's term; what looks at columns with few values is
tabulated; any other step that skl2onnx knows is put into the graph as skl2onnx converts it.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from churn_serving.bundle.schema import Feature
from churn_serving.errors import DataError
from churn_serving.train.foreign import add_step, add_ufunc
from churn_serving.train.tabulate import Domain, domain_of, tabulate
from churn_serving.train.terms import (
    Computed,
    Number,
    Step,
    Term,
    Text,
    fill_missing,
    is_missing,
    rescale,
)

MAX_NUMBERS = 100
_ENCODERS = (OneHotEncoder, OrdinalEncoder, TargetEncoder)
_BRANCHES = (ColumnTransformer, FeatureUnion)


@dataclass(frozen=True)
class Source:
    """The bundle's features by name, the data that shows their values, and values that encoders learnt."""

    features: Mapping[str, Feature]
    frame: pd.DataFrame
    learnt: Mapping[str, Collection[Any]]

    def domain(self, term: Term, told: str) -> Domain:
        """The values of a column as it comes.

        Raises:
            DataError: It was computed before, or has too many different values.
        """
        if not (isinstance(term, Text) or (isinstance(term, Number) and term.is_raw)):
            raise DataError(f"{told} encodes what another step computed; let it encode the column itself")
        name = term.feature
        domain = domain_of(self.features[name], self.frame[name], self.learnt.get(name, ()))
        if isinstance(term, Number) and len(domain.values) > MAX_NUMBERS:
            raise DataError(
                f"{told} encodes {name!r}, which has {len(domain.values):,} different numbers; "
                f"at most {MAX_NUMBERS} can be tabulated"
            )
        return domain


def trace(transformer: Any, terms: Sequence[Term], source: Source, path: str) -> list[Term]:
    """The terms that a fitted transformer makes of `terms`.

    Args:
        transformer: Fitted, or "passthrough" or "drop".
        terms: Its inputs, in the order in which it was fitted.
        source: Where terms come from.
        path: The names of the steps that lead to it.

    Raises:
        DataError: It cannot be converted; says which step and why.
    """
    if _leaves_alone(transformer):
        return [] if transformer == "drop" else list(terms)
    told = f"step {path!r} ({type(transformer).__name__})"
    match transformer:
        case ColumnTransformer():
            return _trace_columns(transformer, terms, source, path)
        case FeatureUnion():
            return [
                term
                for name, part in transformer.transformer_list
                for term in trace(part, terms, source, f"{path} > {name}")
            ]
        case _ if _is_table(transformer, terms):
            return list(tabulate(transformer, [source.domain(term, told) for term in terms], told))
        case Pipeline():
            for name, step in transformer.steps:
                terms = trace(step, terms, source, f"{path} > {name}")
            return list(terms)
    return _trace_numbers(transformer, terms, told) if terms else []


def positions(columns: Any, names: Sequence[str]) -> list[int]:
    """Where the columns that a ColumnTransformer selects stand among its inputs."""
    if isinstance(columns, slice):
        return list(range(len(names)))[columns]
    listed = [columns] if isinstance(columns, str | int) else list(columns)
    if listed and isinstance(listed[0], bool | np.bool_):
        return np.flatnonzero(listed).tolist()
    place = {name: at for at, name in enumerate(names)}
    return [place[column] if isinstance(column, str) else int(column) for column in listed]


def _leaves_alone(transformer: Any) -> bool:
    """Also where a ColumnTransformer has made a function of "passthrough"."""
    if isinstance(transformer, FunctionTransformer):
        return transformer.func is None
    return transformer is None or isinstance(transformer, str)


def _trace_columns(
    transformer: ColumnTransformer, terms: Sequence[Term], source: Source, path: str
) -> list[Term]:
    names = getattr(transformer, "feature_names_in_", [""] * len(terms))
    found: list[Term] = []
    for name, part, columns in transformer.transformers_:
        chosen = [terms[at] for at in positions(columns, names)]
        found += trace(part, chosen, source, f"{path} > {name}")
    return found


def _trace_numbers(transformer: Any, terms: Sequence[Term], told: str) -> list[Term]:
    known: list[Term | None] = [None]
    match transformer:
        case SelectorMixin():
            known = [terms[at] for at in transformer.get_support(indices=True)]
        case StandardScaler() | MinMaxScaler() | MaxAbsScaler() | RobustScaler():
            known = _scale(transformer, terms)
        case SimpleImputer():
            known = _impute(transformer, terms)
        case MissingIndicator():
            known = _mark(transformer, terms)
        case FunctionTransformer():
            step = Step(terms, add_ufunc(transformer, told))
            known = [Computed(step, at) for at in range(len(terms))]
    if None not in known:
        return [term for term in known if term is not None]
    step = Step(terms, add_step(transformer, len(terms), told))
    return [Computed(step, at) for at in range(_width(transformer, len(terms), told))]


def _width(transformer: Any, inputs: int, told: str) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that the columns do not have here
            return int(transformer.transform(np.zeros((1, inputs))).shape[1])
    except Exception as error:  # noqa: BLE001 (the user's own class may raise anything)
        raise DataError(f"{told} does not say how many columns it gives: {str(error)[:200]}") from None


def _scale(scaler: Any, terms: Sequence[Term]) -> list[Term | None]:
    match scaler:
        case StandardScaler():
            centres, scales = scaler.mean_ if scaler.with_mean else None, scaler.scale_
        case RobustScaler():
            centres, scales = scaler.center_, scaler.scale_
        case MaxAbsScaler():
            centres, scales = None, scaler.scale_
        case _:
            centres, scales = -scaler.min_ / scaler.scale_, 1 / scaler.scale_
    if getattr(scaler, "clip", False):
        return [None]
    centres = np.zeros(len(terms)) if centres is None else centres
    scales = np.ones(len(terms)) if scales is None else scales
    return [rescale(*each) for each in zip(terms, centres, scales, strict=True)]


def _impute(imputer: SimpleImputer, terms: Sequence[Term]) -> list[Term | None]:
    if not isinstance(imputer.missing_values, float) or not np.isnan(imputer.missing_values):
        return [None]
    filled = [
        fill_missing(term, value)
        for term, value in zip(terms, imputer.statistics_, strict=True)
        if not np.isnan(value) or imputer.keep_empty_features
    ]
    if not imputer.add_indicator:
        return filled
    return filled + _mark(imputer.indicator_, terms)


def _mark(indicator: MissingIndicator, terms: Sequence[Term]) -> list[Term | None]:
    if not isinstance(indicator.missing_values, float) or not np.isnan(indicator.missing_values):
        return [None]
    marked = [terms[at] for at in indicator.features_]
    return [is_missing(term) if isinstance(term, Number) and np.isnan(term.fill) else None for term in marked]


def _is_table(transformer: Any, terms: Sequence[Term]) -> bool:
    if not terms or _branches(transformer):
        return False
    return _encodes(transformer) or any(isinstance(term, Text) for term in terms)


def _encodes(transformer: Any) -> bool:
    if isinstance(transformer, Pipeline):
        return any(_encodes(step) for _, step in transformer.steps)
    return isinstance(transformer, _ENCODERS)


def _branches(transformer: Any) -> bool:
    if isinstance(transformer, Pipeline):
        return any(_branches(step) for _, step in transformer.steps)
    return isinstance(transformer, _BRANCHES)
