"""The classifiers that can be trained, with settings that suit tables of customers."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression

from churn_serving.bundle.schema import Categorical, Feature
from churn_serving.errors import DataError
from churn_serving.features import Matrix
from churn_serving.train.calibration import Floats

Classifier: TypeAlias = Any  # scikit-learn's classifiers, XGBClassifier, LGBMClassifier: no base but a habit

LEAST_SHARE = 1e-4
"""A forest's share of votes is taken as at least this much before its log odds are calibrated."""


class Algorithm(StrEnum):
    """What can be trained."""

    LOGISTIC = "logistic"
    GRADIENT_BOOSTING = "gradient-boosting"
    HIST_GRADIENT_BOOSTING = "hist-gradient-boosting"
    RANDOM_FOREST = "random-forest"
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"

    @property
    def library(self) -> str | None:
        """What must be installed beside scikit-learn: a module and an extra of that name."""
        return self.value if self in {Algorithm.XGBOOST, Algorithm.LIGHTGBM} else None


def new_classifier(
    algorithm: Algorithm, features: Sequence[Feature], rows: int, seed: int, parameters: Mapping[str, Any]
) -> Classifier:
    """A classifier to be fitted on `rows` rows, its defaults overridden by `parameters`.

    Raises:
        DataError: Its library is not installed.
    """
    return _default(algorithm, features, rows, seed).set_params(**parameters)


def import_library(algorithm: Algorithm) -> Any:
    """The module that the algorithm needs beside scikit-learn.

    Raises:
        DataError: It is not installed.
    """
    try:
        return import_module(str(algorithm.library))
    except ModuleNotFoundError:
        extra = f"pip install 'churn-serving[{algorithm.library}]'"
        raise DataError(f"--algorithm {algorithm.value} needs: {extra}") from None


def log_odds(classifier: Classifier, inputs: Matrix) -> Floats:
    """Log odds of churn per row, before any calibration."""
    match type(classifier).__name__:
        case "RandomForestClassifier":
            shares = np.log(np.maximum(classifier.predict_proba(inputs), LEAST_SHARE))
            odds = shares[:, 1] - shares[:, 0]
        case "XGBClassifier":
            odds = classifier.predict(inputs, output_margin=True)
        case "LGBMClassifier":
            odds = classifier.predict(inputs, raw_score=True)
        case _:
            odds = classifier.decision_function(inputs)
    return np.asarray(odds, dtype=np.float64)


def _default(algorithm: Algorithm, features: Sequence[Feature], rows: int, seed: int) -> Classifier:
    match algorithm:
        case Algorithm.LOGISTIC:
            return LogisticRegression(max_iter=2000)
        case Algorithm.GRADIENT_BOOSTING:
            return GradientBoostingClassifier(random_state=seed)
        case Algorithm.RANDOM_FOREST:
            # A thousandth of the rows in each leaf at least: the graph stays a few MB however many there are.
            leaf = max(10, rows // 1000)
            return RandomForestClassifier(n_estimators=200, min_samples_leaf=leaf, random_state=seed)
        case Algorithm.HIST_GRADIENT_BOOSTING:
            categorical = [isinstance(feature, Categorical) for feature in features]
            return HistGradientBoostingClassifier(
                learning_rate=0.05,
                max_leaf_nodes=15,
                categorical_features=categorical if any(categorical) else None,
                random_state=seed,
            )
        case Algorithm.XGBOOST:
            return import_library(algorithm).XGBClassifier(
                n_estimators=150, learning_rate=0.05, max_depth=4, n_jobs=1, random_state=seed
            )
        case Algorithm.LIGHTGBM:
            return import_library(algorithm).LGBMClassifier(
                n_estimators=150, learning_rate=0.05, num_leaves=15, n_jobs=1, random_state=seed,
                deterministic=True, force_row_wise=True, verbose=-1,
            )  # fmt: skip
