"""A user's own fitted pipeline as a bundle."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from lightgbm import LGBMClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from skops import io
from xgboost import XGBClassifier

from churn_serving.bundle.write import write_files
from churn_serving.cli import app
from churn_serving.errors import DataError
from churn_serving.model import Model, load_model
from churn_serving.reasons import Explainer
from churn_serving.train.export import ExportPlan, export
from churn_serving.train.loading import load_pipeline

from .conftest import TELCO_CSV

pytestmark = pytest.mark.usefixtures("one_thread")
NUMBERS = ["age", "balance", "visits"]
TEXTS = ["plan", "region"]


@pytest.fixture(scope="module")
def customers(shop_csv: Path) -> pd.DataFrame:
    """As a data scientist reads them."""
    return pd.read_csv(shop_csv)


def prepare(**changes: Any) -> ColumnTransformer:
    """What most pipelines begin with: impute and scale numbers, one-hot texts, leave the rest."""
    parts = {
        "numbers": make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
        "texts": make_pipeline(
            SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")
        ),
        "newsletter": "passthrough",
    } | changes
    columns = {"numbers": NUMBERS, "texts": TEXTS, "newsletter": ["newsletter"]}
    return ColumnTransformer([(name, part, columns[name]) for name, part in parts.items()])


def fitted(steps: list[Any], customers: pd.DataFrame) -> Pipeline:
    return make_pipeline(*steps).fit(customers.drop(columns=["left", "account"]), customers["left"])


def plan_of(data: Path, **changes: Any) -> ExportPlan:
    plan = {"data": data, "target": "left", "positive": "1", "name": "own", "version": "1"}
    return ExportPlan(**(plan | {"id_column": "account"} | changes))


def exported(pipeline: Any, data: Path, out: Path, **changes: Any) -> Model:
    write_files(out / "own", export(pipeline, plan_of(data, **changes)).files)
    return load_model(out / "own")


def refusal(pipeline: Any, data: Path, **changes: Any) -> str:
    with pytest.raises(DataError) as refused:
        export(pipeline, plan_of(data, **changes))
    return str(refused.value)


def tabled(encoder: Any) -> ColumnTransformer:
    return prepare(texts=make_pipeline(encoder))


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([prepare(), LogisticRegression()], id="logistic"),
        pytest.param([prepare(), GradientBoostingClassifier(n_estimators=20)], id="gradient boosting"),
        pytest.param([prepare(), RandomForestClassifier(20, min_samples_leaf=9)], id="random forest"),
        pytest.param(
            [prepare(numbers="passthrough"), RandomForestClassifier(20, max_depth=6)],
            id="random forest with missing values",
        ),
        pytest.param([prepare(), ExtraTreesClassifier(20, min_samples_leaf=9)], id="extra trees"),
        pytest.param([prepare(), HistGradientBoostingClassifier(max_iter=20)], id="hist gradient boosting"),
        pytest.param([prepare(numbers=StandardScaler()), XGBClassifier(n_estimators=20)], id="xgboost"),
        pytest.param(
            [prepare(numbers=StandardScaler()), LGBMClassifier(n_estimators=20, verbose=-1)], id="lightgbm"
        ),
        pytest.param([prepare(), MLPClassifier(8, max_iter=400, tol=0.01)], id="a neural network"),
        pytest.param([prepare(), AdaBoostClassifier(n_estimators=10)], id="AdaBoost"),
        pytest.param([prepare(), CalibratedClassifierCV(LogisticRegression(), cv=2)], id="calibrated"),
        pytest.param(
            [prepare(), StackingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], cv=2)],
            id="stacked",
        ),
        pytest.param([prepare(), PCA(4), LogisticRegression()], id="principal components"),
        pytest.param([prepare(), SelectKBest(k=5), LogisticRegression()], id="the best columns"),
        pytest.param(
            [prepare(numbers=make_pipeline(SimpleImputer(), StandardScaler(), PolynomialFeatures(2))),
             LogisticRegression()],
            id="polynomials",
        ),
        pytest.param(
            [prepare(numbers=make_pipeline(SimpleImputer(), MinMaxScaler())), LogisticRegression()],
            id="min-max",
        ),
        pytest.param(
            [prepare(numbers=make_pipeline(RobustScaler(), SimpleImputer())), LogisticRegression()],
            id="robust, then imputed",
        ),
        pytest.param(
            [prepare(numbers=make_pipeline(SimpleImputer(), StandardScaler(), PowerTransformer())),
             LogisticRegression()],
            id="power",
        ),
        pytest.param(
            [tabled(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
             HistGradientBoostingClassifier(max_iter=20, categorical_features=[4, 5])],
            id="ordinal codes as categories",
        ),
        pytest.param([tabled(TargetEncoder()), LogisticRegression()], id="target codes"),
        pytest.param(
            [tabled(OneHotEncoder(min_frequency=0.2, drop="first", handle_unknown="ignore")),
             LogisticRegression()],
            id="rare texts together",
        ),
        pytest.param(
            [prepare(newsletter=OneHotEncoder(drop="if_binary")), LogisticRegression()], id="a flag one-hot"
        ),
        pytest.param(
            [prepare(numbers=FeatureUnion([
                ("plain", make_pipeline(SimpleImputer(), StandardScaler())),
                ("logs", ColumnTransformer(
                    [("visits", make_pipeline(FunctionTransformer(np.log1p), StandardScaler()), [2])]
                )),
            ])), LogisticRegression()],
            id="two ways for one column",
        ),
        pytest.param(
            [ColumnTransformer([("visits", OneHotEncoder(handle_unknown="ignore"), ["visits"])],
                               remainder="drop"), LogisticRegression()],
            id="numbers one-hot, all else dropped",
        ),
    ],
)  # fmt: skip
def test_a_bundle_gives_what_the_pipeline_gives(
    steps: list[Any], customers: pd.DataFrame, shop_csv: Path, tmp_path: Path
):
    """Every row of the data within 1e-5, or the export itself refuses; golden rows again at load."""
    model = exported(fitted(steps, customers), shop_csv, tmp_path)
    assert model.golden_rows == 64
    assert {"account", "left", "joined"} <= set(model.manifest.accepted)


def test_numbers_are_scaled_as_the_pipeline_scales_them(
    customers: pd.DataFrame, shop_csv: Path, tmp_path: Path
):
    """In float64, before they become float32: 50,000,000 ± 1,000 keeps its spread."""
    pipeline = fitted([prepare(), LogisticRegression()], customers)
    features = {f.name: f for f in exported(pipeline, shop_csv, tmp_path).manifest.features}
    scaler = pipeline[0].named_transformers_["numbers"][-1]
    assert (features["balance"].centre, features["balance"].scale) == (scaler.mean_[1], scaler.scale_[1])


def test_the_sample_data_with_texts_as_classes(tmp_path: Path):
    """Yes and No, blanks among numbers, and a flag that is 0 or 1."""
    frame = pd.read_csv(TELCO_CSV, na_values=[" "])
    numbers = ["tenure", "MonthlyCharges", "TotalCharges"]
    texts = [name for name in frame.columns if name not in {*numbers, "customerID", "Churn"}]
    pipeline = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
                ("texts", OneHotEncoder(), texts),
            ]
        ),
        LogisticRegression(max_iter=1000),
    ).fit(frame.drop(columns=["customerID", "Churn"]), frame["Churn"])
    model = exported(pipeline, TELCO_CSV, tmp_path, target="Churn", positive="Yes", id_column="customerID")
    assert model.manifest.classes == ("No", "Yes")
    assert model.manifest.metrics.auc > 0.84


def test_an_exported_bundle_has_reasons(customers: pd.DataFrame, shop_csv: Path, tmp_path: Path):
    """As any other: the points are what the pipeline says less what it says with that column typical."""
    pipeline = fitted([prepare(), GradientBoostingClassifier(n_estimators=20)], customers)
    model = exported(pipeline, shop_csv, tmp_path)
    record = {"age": 30.0, "balance": 5e7, "plan": "basic", "newsletter": True, "visits": 1, "region": "東京"}
    explainer = Explainer(model.manifest, model.encoder, model.scorer)
    matrix = np.array(model.encoder.encode([record]).rows, dtype=np.float32)
    ranked = explainer.rank(explainer.probabilities(matrix))
    reason = explainer.explain(ranked[0], record, 1).reasons[0]
    frame = pd.DataFrame([record, record | {reason.column: reason.typical}]).assign(joined="x")
    given, typical = pipeline.predict_proba(frame[pipeline.feature_names_in_])[:, 1]
    assert reason.points == pytest.approx(given - typical, abs=2e-6)


def test_churn_may_be_the_first_class(customers: pd.DataFrame, shop_csv: Path, tmp_path: Path):
    pipeline = fitted([prepare(), LogisticRegression()], customers)
    model = exported(pipeline, shop_csv, tmp_path, positive="0")
    assert (model.manifest.positive, model.manifest.positive_index) == ("0", 0)


def test_a_search_gives_its_best_pipeline(customers: pd.DataFrame, shop_csv: Path, tmp_path: Path):
    search = GridSearchCV(
        Pipeline([("prepare", prepare()), ("c", LogisticRegression())]), {"c__C": [0.1, 1]}, cv=2
    )
    search.fit(customers.drop(columns=["left"]), customers["left"])
    assert exported(search, shop_csv, tmp_path).manifest.algorithm == "LogisticRegression (exported)"


def test_a_text_that_was_never_seen_is_scored_as_the_pipeline_scores_it(
    customers: pd.DataFrame, shop_csv: Path, tmp_path: Path
):
    pipeline = fitted([tabled(TargetEncoder()), LogisticRegression()], customers)
    model = exported(pipeline, shop_csv, tmp_path)
    record = {"age": 40.0, "balance": 5e7, "plan": "gold", "newsletter": True, "visits": 3, "region": "Mars"}
    frame = pd.DataFrame([record]).assign(joined="x")[pipeline.feature_names_in_]
    row = model.encoder.encode([record]).rows
    found = model.scorer.probabilities(np.array(row, dtype=np.float32))
    assert found[0] == pytest.approx(pipeline.predict_proba(frame)[0, 1], abs=1e-5)


def test_values_that_the_data_lacks_are_known_as_the_pipeline_knows_them(
    customers: pd.DataFrame, tmp_path: Path
):
    """The rows held back need not show every rare value that encoders were fitted on."""
    steps = [ColumnTransformer([("codes", OrdinalEncoder(), ["region", "visits"])]), LogisticRegression()]
    pipeline = fitted(steps, customers)
    shown = customers[(customers["region"] != "東京") & (customers["visits"] != 17)]
    shown.to_csv(tmp_path / "held-back.csv", index=False)
    model = exported(pipeline, tmp_path / "held-back.csv", tmp_path)
    rare = customers[["region", "visits"]].assign(region="東京", visits=17)[:1]
    rows = model.encoder.encode(rare.to_dict("records")).rows
    found = model.scorer.probabilities(np.array(rows, dtype=np.float32))
    frame = customers[:1].assign(region="東京", visits=17)
    assert found[0] == pytest.approx(pipeline.predict_proba(frame)[0, 1], abs=1e-5)


def test_a_column_of_many_texts_is_exported_and_one_of_dates_is_not(customers: pd.DataFrame, tmp_path: Path):
    streets = customers.assign(street=[f"street {row % 150}" for row in range(len(customers))])
    streets.to_csv(tmp_path / "streets.csv", index=False)
    onehot = ColumnTransformer([("texts", OneHotEncoder(), ["street", "plan"])])
    pipeline = fitted([onehot, LogisticRegression()], streets)
    assert len(exported(pipeline, tmp_path / "streets.csv", tmp_path).manifest.features[1].categories) == 150
    dates = ColumnTransformer([("texts", OneHotEncoder(), ["joined"])])
    told = refusal(fitted([dates, LogisticRegression()], streets), tmp_path / "streets.csv")
    assert told.endswith("joined: holds dates\nThe pipeline looks at them: fit it without")


def test_what_the_pipeline_does_not_look_at_is_accepted_and_not_scored(
    customers: pd.DataFrame, shop_csv: Path, tmp_path: Path
):
    steps = [prepare(texts="drop", newsletter="drop"), SelectKBest(k=1), LogisticRegression()]
    model = exported(fitted(steps, customers), shop_csv, tmp_path)
    assert [feature.name for feature in model.manifest.features] == ["visits"]
    assert {"plan", "region", "newsletter", "age", "balance"} <= set(model.manifest.ignored)


def shout(values: Any) -> Any:
    return pd.DataFrame(values).map(str.upper)


def double(values: Any) -> Any:
    return values * 2


def test_code_of_the_users_own_on_a_column_of_texts_is_a_table(
    customers: pd.DataFrame, shop_csv: Path, tmp_path: Path
):
    own = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        FunctionTransformer(shout),
        OneHotEncoder(handle_unknown="ignore"),
    )
    model = exported(fitted([prepare(texts=own), LogisticRegression()], customers), shop_csv, tmp_path)
    assert model.golden_deviation < 1e-5


def lengths(values: Any) -> Any:
    return np.array([[len(str(plan)) * len(str(region))] for plan, region in np.asarray(values)])


@pytest.mark.parametrize(
    ("part", "told"),
    [
        pytest.param(
            {"numbers": make_pipeline(SimpleImputer(), FunctionTransformer(double))},
            "step 'columntransformer > numbers > functiontransformer' (FunctionTransformer) runs your own "
            "'double', which no graph can hold",
            id="code of their own on numbers",
        ),
        pytest.param(
            {"texts": FunctionTransformer(lengths)},
            "step 'columntransformer > texts' (FunctionTransformer) mixes the columns 'plan' and 'region'",
            id="columns mixed",
        ),
        pytest.param(
            {"numbers": OneHotEncoder(handle_unknown="ignore")},
            "step 'columntransformer > numbers' (OneHotEncoder) encodes 'age', which has",
            id="too many numbers one-hot",
        ),
        pytest.param(
            {"numbers": make_pipeline(SimpleImputer(), SplineTransformer())},
            "step 'columntransformer > numbers > splinetransformer' (SplineTransformer) cannot be converted",
            id="a step that skl2onnx does not know",
        ),
        pytest.param(
            {"numbers": KNNImputer()},
            "step 'columntransformer > numbers' (KNNImputer) cannot be converted",
            id="a step whose graph has functions",
        ),
    ],
)
def test_a_step_that_cannot_be_converted_is_named(
    part: dict[str, Any], told: str, customers: pd.DataFrame, shop_csv: Path
):
    steps = [prepare(**part), *([SimpleImputer()] if "Encoder" not in told else []), LogisticRegression()]
    assert told in refusal(fitted(steps, customers), shop_csv)


def test_a_data_file_that_does_not_suit_the_pipeline_says_why(
    customers: pd.DataFrame, shop_csv: Path, tmp_path: Path
):
    pipeline = fitted([prepare(), LogisticRegression()], customers)
    customers.drop(columns=["visits"]).to_csv(tmp_path / "few.csv", index=False)
    assert "there is no column 'visits'" in refusal(pipeline, tmp_path / "few.csv")
    customers.assign(plan="basic").to_csv(tmp_path / "same.csv", index=False)
    assert "column 'plan' is the same value in every row" in refusal(pipeline, tmp_path / "same.csv")
    customers.assign(left=customers["left"].map(["no", "yes"].__getitem__)).to_csv(
        tmp_path / "words.csv", index=False
    )
    told = refusal(pipeline, tmp_path / "words.csv", positive="yes")
    assert told == "--positive: the pipeline's classes are '0' and '1'"


@pytest.mark.parametrize(
    ("pipeline", "told"),
    [
        (LogisticRegression(), "is not fitted"),
        ({"model": 1}, "this is a dict, not a scikit-learn Pipeline"),
        (make_pipeline(StandardScaler()), "gives no probabilities"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "is not fitted"),
    ],
)
def test_what_is_no_fitted_classifying_pipeline_is_refused(pipeline: Any, told: str, shop_csv: Path):
    assert told in refusal(pipeline, shop_csv)


@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(),
        RandomForestClassifier(5),
        HistGradientBoostingClassifier(max_iter=5),
        XGBClassifier(n_estimators=5),
        LGBMClassifier(n_estimators=5, verbose=-1),
    ],
    ids=lambda classifier: type(classifier).__name__,
)
def test_a_skops_file_of_what_can_be_exported_is_trusted(
    classifier: Any, customers: pd.DataFrame, tmp_path: Path
):
    pipeline = fitted([prepare(), classifier], customers)
    io.dump(pipeline, tmp_path / "own.skops")
    loaded = load_pipeline(tmp_path / "own.skops", trust_pickle=False)
    assert loaded.predict_proba(customers).tolist() == pipeline.predict_proba(customers).tolist()


def test_the_command_writes_what_serve_loads(customers: pd.DataFrame, shop_csv: Path, tmp_path: Path):
    io.dump(fitted([prepare(), LogisticRegression()], customers), tmp_path / "own.skops")
    options = ["--data", shop_csv, "--target", "left", "--positive", "1", "--id", "account"]
    named = ["--name", "own", "--version", "1", "--out", tmp_path / "own"]
    told = CliRunner().invoke(
        app, [str(word) for word in ["export", tmp_path / "own.skops", *options, *named]]
    )
    assert told.exit_code == 0, told.output
    assert f"digest  {load_model(tmp_path / 'own').digest}" in told.output
    assert "measured on 600 rows" in told.output


def test_a_joblib_file_needs_to_be_trusted(customers: pd.DataFrame, tmp_path: Path):
    joblib.dump(fitted([prepare(), LogisticRegression()], customers), tmp_path / "own.joblib")
    with pytest.raises(DataError, match="runs whatever code is in it"):
        load_pipeline(tmp_path / "own.joblib", trust_pickle=False)
    assert isinstance(load_pipeline(tmp_path / "own.joblib", trust_pickle=True), Pipeline)
