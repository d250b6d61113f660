"""A fitted classifier, or one made of others, as what it says of each column's terms.

Calibration and soft voting are arithmetic on what their parts say, so each part is followed by itself: one
may bring its own preparation, as `CalibratedClassifierCV` over a whole pipeline does for every fold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.pipeline import Pipeline

from churn_serving.errors import DataError
from churn_serving.train.calibration import Calibrator, Sigmoid, isotonic_through
from churn_serving.train.onnx_graph import has_log_odds
from churn_serving.train.terms import Term, Text
from churn_serving.train.trace import Source, trace


@dataclass(frozen=True, eq=False)
class Single:
    """What one classifier says of a matrix of terms; `told` names it."""

    terms: Sequence[Term]
    classifier: Any
    told: str


@dataclass(frozen=True, eq=False)
class Corrected:
    """What a calibrator makes of an estimate: of its log odds where it has a decision function."""

    of: "Estimate"
    calibrator: Calibrator


@dataclass(frozen=True, eq=False)
class Mean:
    """The weighted mean of several; weights sum up to 1."""

    of: Sequence["Estimate"]
    weights: Sequence[float]


Estimate: TypeAlias = Single | Corrected | Mean


def trace_classifier(classifier: Any, terms: Sequence[Term], source: Source, path: str) -> Estimate:
    """The estimate that a fitted classifier makes of `terms`.

    Args:
        classifier: Fitted; or a pipeline that ends in one.
        terms: Its inputs, in the order in which it was fitted.
        source: Where terms come from.
        path: The names of the steps that lead to it; empty for the outermost.

    Raises:
        DataError: A step cannot be converted, or a classifier is given text.
    """
    classifier = fitted_in(classifier)
    kind = type(classifier).__name__
    told = f"step {path!r} ({kind})" if path else f"the {kind}"
    match classifier:
        case Pipeline():
            for name, step in classifier.steps[:-1]:
                terms = trace(step, terms, source, _below(path, name))
            name, last = classifier.steps[-1]
            return trace_classifier(last, terms, source, _below(path, name))
        case CalibratedClassifierCV():
            corrected = _trace_calibrated(classifier, terms, source, path)
            if corrected is not None:
                return corrected
            if pipelines_in(classifier):
                raise DataError(f"{told} corrects a decision function that cannot be converted")
        case VotingClassifier(voting="soft"):
            every = [trace_classifier(each, terms, source, path) for each in classifier.estimators_]
            # As scikit-learn does it: a weight of each that was not dropped.
            weights = classifier._weights_not_none or [1.0] * len(every)  # noqa: SLF001
            return Mean(every, [weight / sum(weights) for weight in weights])
    for term in terms:
        if isinstance(term, Text):
            raise DataError(f"{told} is given {term.feature!r} as text; encode it in a step before")
    return Single(terms, classifier, told)


def fitted_in(classifier: Any) -> Any:
    """The best of a search, and what was frozen; else the classifier itself."""
    if isinstance(classifier, FrozenEstimator):
        return fitted_in(classifier.estimator)
    return getattr(classifier, "best_estimator_", classifier)


def pipelines_in(classifier: Any) -> list[Pipeline]:
    """The outermost pipelines of a fitted classifier: itself, or those that it is made of."""
    classifier = fitted_in(classifier)
    match classifier:
        case Pipeline():
            return [classifier]
        case CalibratedClassifierCV():
            parts = [part.estimator for part in getattr(classifier, "calibrated_classifiers_", ())]
        case VotingClassifier():
            parts = getattr(classifier, "estimators_", [])
        case _:
            parts = []
    return [pipeline for part in parts for pipeline in pipelines_in(part)]


def singles_of(estimate: Estimate) -> Iterator[Single]:
    """All classifiers that it is made of."""
    match estimate:
        case Single():
            yield estimate
        case Corrected():
            yield from singles_of(estimate.of)
        case Mean():
            for each in estimate.of:
                yield from singles_of(each)


def _below(path: str, name: str) -> str:
    return f"{path} > {name}" if path else name


def _trace_calibrated(
    classifier: CalibratedClassifierCV, terms: Sequence[Term], source: Source, path: str
) -> Mean | None:
    """None where it corrects a decision function that is not known here."""
    parts = classifier.calibrated_classifiers_
    corrected = []
    for part in parts:
        estimate = trace_classifier(part.estimator, terms, source, path)
        calibrator = _calibrator(part.calibrators[0])
        if calibrator is None or (hasattr(part.estimator, "decision_function") and not _is_known(estimate)):
            return None
        corrected.append(Corrected(estimate, calibrator))
    return Mean(corrected, [1 / len(parts)] * len(parts))


def _is_known(estimate: Estimate) -> bool:
    return isinstance(estimate, Single) and has_log_odds(estimate.classifier)


def _calibrator(fitted: Any) -> Calibrator | None:
    if isinstance(fitted, IsotonicRegression):
        return isotonic_through(fitted)
    if type(fitted).__name__ == "_SigmoidCalibration":
        return Sigmoid(-float(fitted.a_), -float(fitted.b_))
    return None
