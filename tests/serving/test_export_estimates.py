"""Classifiers made of others, and those that stand alone, as a bundle."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from xgboost import XGBClassifier

from churn_serving.bundle.write import write_files
from churn_serving.errors import DataError
from churn_serving.model import Model, load_model
from churn_serving.train.export import ExportPlan, export

pytestmark = pytest.mark.usefixtures("one_thread")
NUMBERS = ["age", "visits"]
TEXTS = ["plan", "region"]


@pytest.fixture(scope="module")
def customers(shop_csv: Path) -> pd.DataFrame:
    return pd.read_csv(shop_csv)


def exported(given: Any, data: Path, out: Path) -> Model:
    plan = ExportPlan(data=data, target="left", positive="1", name="own", version="1", id_column="account")
    write_files(out / "own", export(given, plan).files)
    return load_model(out / "own")


def scored(model: Model, rows: pd.DataFrame) -> Any:
    names = [feature.name for feature in model.manifest.features]
    records = rows[names].astype(object).where(rows[names].notna(), None).to_dict("records")
    return model.scorer.probabilities(np.array(model.encoder.encode(records).rows, dtype=np.float32))


def whole(classifier: Any, numbers: Any = None) -> Any:
    scale = make_pipeline(SimpleImputer(), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(
        ColumnTransformer([("numbers", numbers or scale, NUMBERS), ("texts", texts, TEXTS)]), classifier
    )


def boosted() -> Any:
    return HistGradientBoostingClassifier(max_iter=10)


def logistic() -> Any:
    return LogisticRegression(max_iter=500)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(whole(CalibratedClassifierCV(boosted(), cv=2)), id="boosting calibrated"),
        pytest.param(
            whole(CalibratedClassifierCV(XGBClassifier(n_estimators=5), cv=2)), id="xgboost calibrated"
        ),
        pytest.param(
            whole(CalibratedClassifierCV(LGBMClassifier(n_estimators=5, verbose=-1), cv=2)),
            id="lightgbm calibrated",
        ),
        pytest.param(
            whole(CalibratedClassifierCV(logistic(), cv=2, method="isotonic")), id="isotonic over a line"
        ),
        pytest.param(CalibratedClassifierCV(whole(logistic()), cv=2), id="a whole pipeline calibrated"),
        pytest.param(
            CalibratedClassifierCV(whole(boosted(), numbers="passthrough"), cv=2),
            id="a whole pipeline of trees calibrated",
        ),
        pytest.param(
            CalibratedClassifierCV(
                GridSearchCV(whole(logistic()), {"logisticregression__C": [0.1, 1]}, cv=2), cv=2
            ),
            id="a search calibrated",
        ),
        pytest.param(
            whole(VotingClassifier([("a", logistic()), ("b", boosted())], voting="soft", weights=[1, 3])),
            id="a vote with weights",
        ),
        pytest.param(
            VotingClassifier(
                [("a", whole(logistic())), ("b", whole(boosted(), numbers="passthrough"))], voting="soft"
            ),
            id="a vote of pipelines",
        ),
        pytest.param(whole(LinearDiscriminantAnalysis()), id="linear discriminant analysis"),
        pytest.param(
            whole(
                logistic(), numbers=FeatureUnion([("filled", SimpleImputer()), ("which", MissingIndicator())])
            ),
            id="marks of what is missing",
        ),
        pytest.param(
            make_pipeline(
                ColumnTransformer(
                    [("numbers", SimpleImputer(), NUMBERS)],
                    remainder="passthrough",
                    verbose_feature_names_out=False,
                ).set_output(transform="pandas"),
                whole(logistic(), numbers=StandardScaler()),
            ),
            id="texts passed on to a second step",
        ),
    ],
)
def test_missing_and_unknown_values_score_as_the_users_estimator_scores_them(
    given: Any, customers: pd.DataFrame, shop_csv: Path, tmp_path: Path
):
    rows = customers.drop(columns=["left", "account", "joined"])
    given.fit(rows, customers["left"])
    model = exported(given, shop_csv, tmp_path)
    odd = pd.concat(
        [rows[:20].assign(plan="gold"), rows[:20].assign(age=np.nan), rows[:20].assign(visits=99)]
    )
    assert scored(model, odd) == pytest.approx(given.predict_proba(odd)[:, 1], abs=1e-5)


def test_a_frozen_pipeline_is_calibrated_as_fitted(customers: pd.DataFrame, shop_csv: Path, tmp_path: Path):
    rows, left = customers.drop(columns=["left"]), customers["left"]
    frozen = FrozenEstimator(whole(boosted()).fit(rows[:300], left[:300]))
    given = CalibratedClassifierCV(frozen).fit(rows[300:], left[300:])
    model = exported(given, shop_csv, tmp_path)
    assert model.manifest.algorithm == "CalibratedClassifierCV (exported)"
    assert scored(model, rows) == pytest.approx(given.predict_proba(rows)[:, 1], abs=1e-5)


@pytest.mark.parametrize("classifier", [XGBClassifier(n_estimators=5), RandomForestClassifier(5)])
def test_a_classifier_that_takes_the_columns_as_they_are_needs_no_pipeline(
    classifier: Any, customers: pd.DataFrame, shop_csv: Path, tmp_path: Path
):
    given = classifier.fit(customers[NUMBERS], customers["left"])
    model = exported(given, shop_csv, tmp_path)
    assert scored(model, customers) == pytest.approx(given.predict_proba(customers[NUMBERS])[:, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param(
            CalibratedClassifierCV(whole(RandomForestClassifier(5)), cv=2),
            "(RandomForestClassifier) and another step scale 'age' differently",
            id="trees behind a scaler for each fold",
        ),
        pytest.param(
            CalibratedClassifierCV(whole(SVC()), cv=2),
            "the CalibratedClassifierCV corrects a decision function that cannot be converted",
            id="a decision function of a whole pipeline",
        ),
        pytest.param(
            FixedThresholdClassifier(whole(logistic()), threshold=0.3),
            "export its `estimator_` with --threshold 0.3",
            id="a threshold of its own",
        ),
    ],
)
def test_what_an_estimator_is_made_of_is_refused_by_name(
    given: Any, told: str, customers: pd.DataFrame, shop_csv: Path, tmp_path: Path
):
    given.fit(customers.drop(columns=["left"]), customers["left"])
    with pytest.raises(DataError) as refused:
        exported(given, shop_csv, tmp_path)
    assert told in str(refused.value)


def test_true_in_any_case_is_the_class_that_pandas_calls_true(customers: pd.DataFrame, tmp_path: Path):
    known = customers.assign(left=customers["left"] == 1)
    known.to_csv(tmp_path / "d.csv", index=False)
    given = whole(logistic()).fit(known, known["left"])
    plan = ExportPlan(data=tmp_path / "d.csv", target="left", positive="true", name="own", version="1")
    assert export(given, plan).manifest.positive == "True"
