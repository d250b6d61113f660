"""The graph built by hand gives what the library gives, for each algorithm and each calibration."""

from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from xgboost import XGBClassifier

from churn_serving.bundle.schema import Boolean, Categorical, Feature, Numeric
from churn_serving.errors import DataError
from churn_serving.features import Matrix, to_matrix
from churn_serving.scorer import Scorer
from churn_serving.train.calibration import Calibration
from churn_serving.train.classifiers import Algorithm
from churn_serving.train.onnx_boosters import lightgbm_table, xgboost_table
from churn_serving.train.onnx_graph import build_graph
from churn_serving.train.onnx_trees import floor32
from churn_serving.train.pipeline import Churned, Fitted, Recipe, fit, predict

HIST = Algorithm.HIST_GRADIENT_BOOSTING


def number(name: str, *, nullable: bool) -> Numeric:
    return Numeric(name=name, nullable=nullable, minimum=0, maximum=1, centre=0, scale=1, typical=0.25)


FEATURES: list[Feature] = [
    number("spend", nullable=True),
    Categorical(name="plan", nullable=True, categories=[f"p{i:02}" for i in range(40)], typical="p01"),
    Boolean(name="letter", nullable=True, typical=True),
    number("tenure", nullable=False),
    Categorical(name="region", nullable=False, categories=["east", "west"], typical="east"),
]


def customers(rows: int, *, unseen: bool, seed: int) -> Matrix:
    """Missing values in every column that may miss them; on request categories that training never saw."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, len(FEATURES))).astype(np.float32)
    matrix[:, 1] = rng.integers(-unseen, 41, rows)
    matrix[:, 2] = rng.random(rows) < 0.5
    matrix[:, 4] = rng.integers(-unseen, 2, rows)
    matrix[rng.random(rows) < 0.2, 0] = np.nan
    matrix[rng.random(rows) < 0.2, 2] = np.nan
    return matrix


def outcomes(matrix: Matrix) -> Churned:
    odds = np.nan_to_num(matrix[:, 0]) + matrix[:, 1] % 3 - 1.5
    return np.random.default_rng(0).random(len(matrix)) < 1 / (1 + np.exp(-odds))


def gives_the_same(fitted: Fitted, matrix: Matrix) -> bool:
    scorer = Scorer(build_graph(fitted), features=matrix.shape[1], positive=1)
    return scorer.probabilities(matrix) == pytest.approx(predict(fitted, matrix), abs=1e-5)


@pytest.mark.parametrize("calibration", [None, *Calibration], ids=str)
@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_graph_gives_what_the_library_gives_on_every_row(
    algorithm: Algorithm, calibration: Calibration | None
):
    """Unseen texts, missing values, and categories whose every row was held back."""
    matrix = customers(1000, unseen=False, seed=1)
    matrix = matrix[~np.isin(matrix[:, 1], [5, 7])]
    fitted = fit(Recipe(algorithm, FEATURES, 1, calibration), matrix, outcomes(matrix))
    assert gives_the_same(fitted, customers(5000, unseen=True, seed=2))


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_value_on_a_trees_threshold_takes_the_same_branch(algorithm: Algorithm):
    """Thresholds are float64 midpoints: rounded up to float32 they send their neighbour the other way."""
    values = np.float32(4) + np.arange(40, dtype=np.float32) * np.spacing(np.float32(4))
    matrix = to_matrix([[value] for value in np.repeat(values, 5)], 1)
    fitted = fit(Recipe(algorithm, [number("x", nullable=False)], 0), matrix, np.arange(200) // 5 % 3 == 0)
    assert gives_the_same(fitted, matrix)


def test_missing_numbers_are_split_from_all_others_by_themselves():
    """Where a column tells nothing but whether it is missing, its threshold is infinite."""
    matrix = np.full((400, 1), 2, dtype=np.float32)
    matrix[::3] = np.nan
    fitted = fit(Recipe(HIST, [number("x", nullable=True)], 0), matrix, np.isnan(matrix[:, 0]))
    assert gives_the_same(fitted, matrix)
    missing, given = predict(fitted, matrix)[:2]
    assert missing > 0.9
    assert given < 0.1


def test_every_category_and_the_missing_one_takes_the_side_that_it_took_in_training():
    feature = Categorical(name="c", nullable=True, categories=[f"{i:03}" for i in range(100)], typical="001")
    matrix = to_matrix([[code] for code in np.tile(np.arange(101), 20)], 1)
    fitted = fit(Recipe(HIST, [feature], 0), matrix, matrix[:, 0] % 7 == 3)
    assert gives_the_same(fitted, to_matrix([[code] for code in range(-1, 101)], 1))


@pytest.mark.parametrize("calibration", Calibration)
def test_a_calibrated_probability_comes_true_as_often_as_it_says(calibration: Calibration):
    """A forest shies away from 0 and 1; of those it gives 20 to 40 % after calibration, so many churn."""
    matrix = customers(4000, unseen=False, seed=3)
    churned = outcomes(matrix)
    fitted = fit(Recipe(Algorithm.RANDOM_FOREST, FEATURES, 0, calibration), matrix[:2000], churned[:2000])
    probability = predict(fitted, matrix[2000:])
    among = (probability > 0.2) & (probability < 0.4)
    assert among.sum() > 100
    assert churned[2000:][among].mean() == pytest.approx(probability[among].mean(), abs=0.08)


@pytest.mark.parametrize("calibration", Calibration)
def test_calibration_bears_a_classifier_that_cannot_tell_anybody_apart(calibration: Calibration):
    matrix = np.zeros((200, 1), dtype=np.float32)
    churned = np.arange(200) % 4 == 0
    fitted = fit(Recipe(HIST, [number("x", nullable=False)], 0, calibration), matrix, churned)
    assert gives_the_same(fitted, matrix)
    assert predict(fitted, matrix)[0] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"booster": "dart"}, "XGBoost's booster 'dart'"),
        ({"objective": "binary:hinge"}, "XGBoost's objective 'binary:hinge'"),
    ],
)
def test_an_xgboost_model_of_another_kind_is_refused_by_name(settings: dict[str, str], named: str):
    matrix = customers(200, unseen=False, seed=1)
    classifier = XGBClassifier(n_estimators=2, **settings).fit(matrix, outcomes(matrix))
    with pytest.raises(DataError, match=named):
        xgboost_table(classifier)


def test_xgboost_stopped_early_is_converted_up_to_where_it_predicts():
    matrix = customers(600, unseen=False, seed=1)
    classifier = XGBClassifier(n_estimators=200, early_stopping_rounds=3, learning_rate=0.5)
    classifier.fit(
        matrix[:400], outcomes(matrix)[:400], eval_set=[(matrix[400:], outcomes(matrix)[400:])], verbose=False
    )
    assert len(classifier.get_booster().get_dump()) > classifier.best_iteration + 1
    assert gives_the_same(Fitted(FEATURES, None, classifier), matrix)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1}, "LightGBM's random forest"),
        ({"linear_tree": True}, "LightGBM's linear trees"),
        ({"zero_as_missing": True}, "LightGBM's zero_as_missing"),
        ({"objective": "cross_entropy"}, "LightGBM's objective 'cross_entropy'"),
    ],
)
def test_a_lightgbm_model_of_another_kind_is_refused_by_name(settings: dict[str, Any], named: str):
    matrix = customers(400, unseen=False, seed=1)
    classifier = LGBMClassifier(n_estimators=3, verbose=-1, **settings).fit(matrix, outcomes(matrix))
    with pytest.raises(DataError, match=named):
        lightgbm_table(classifier, floor32)


def test_lightgbm_splits_by_category_and_by_missing_value_as_it_did_in_training():
    matrix = customers(2000, unseen=False, seed=1)
    matrix[:, 1] = np.where(matrix[:, 1] % 3 == 0, matrix[:, 1] // 3, matrix[:, 1])
    classifier = LGBMClassifier(n_estimators=20, verbose=-1, min_child_samples=5)
    classifier.fit(matrix, outcomes(matrix), categorical_feature=[1, 4])
    assert "==" in {
        split["decision_type"] for split in classifier.booster_.trees_to_dataframe().to_dict("records")
    }
    assert gives_the_same(Fitted(FEATURES, None, classifier), customers(3000, unseen=True, seed=2))


def test_lightgbm_takes_a_missing_value_that_training_had_none_of_for_zero():
    matrix = np.nan_to_num(customers(1000, unseen=False, seed=1))
    classifier = LGBMClassifier(n_estimators=20, verbose=-1).fit(matrix, outcomes(matrix))
    assert gives_the_same(Fitted(FEATURES, None, classifier), customers(1000, unseen=False, seed=2))
