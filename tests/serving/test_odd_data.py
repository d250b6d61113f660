"""Data as it comes from elsewhere: it trains or is refused with what mends it, and scores as trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from churn_serving.bundle.write import write_files
from churn_serving.cli import app
from churn_serving.drift import Drift
from churn_serving.errors import DataError
from churn_serving.features import Encoder
from churn_serving.model import Model, load_model
from churn_serving.server.rows import RowDecoder
from churn_serving.train.export import ExportPlan, export
from churn_serving.train.labelled import encode_accepted
from churn_serving.train.table import read_table
from churn_serving.train.train import TrainingPlan, train

ROWS = 600


def customers(**columns: Any) -> pd.DataFrame:
    """Churners have a larger `x`; the other columns are the test's."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=ROWS)
    left = np.where(rng.random(ROWS) < 1 / (1 + np.exp(-2 * x)), "yes", "no")
    return pd.DataFrame({"x": x, **columns, "left": left})


def written(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_csv(folder / "d.csv", index=False)
    return folder / "d.csv"


def plan_of(data: Path, **changes: Any) -> TrainingPlan:
    plan = {"data": data, "target": "left", "positive": "yes", "name": "odd", "version": "1"}
    return TrainingPlan(**(plan | changes))


def trained(frame: pd.DataFrame, folder: Path) -> Model:
    write_files(folder / "bundle", train(plan_of(written(frame, folder))).files)
    return load_model(folder / "bundle")


def refusal(frame: pd.DataFrame, folder: Path) -> str:
    with pytest.raises(DataError) as refused:
        train(plan_of(written(frame, folder)))
    return str(refused.value)


def normal(scale: float) -> Any:
    return np.random.default_rng(3).normal(size=ROWS) * scale


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(normal(1e-200), id="their squares vanish"),
        pytest.param(np.exp(6 * normal(1)), id="a tail so long that float32 takes the rest together"),
        pytest.param(1e15 + normal(1), id="large and close to each other"),
    ],
)
def test_the_training_rows_themselves_have_not_drifted(values: Any, tmp_path: Path):
    model = trained(customers(odd=values), tmp_path)
    drift = Drift(model.manifest, model.reference, window_seconds=3600)
    _, matrix = encode_accepted(model, read_table(tmp_path / "d.csv"))
    drift.observe(matrix, model.scorer.probabilities(matrix))
    _, measured = drift.measure()
    psi = {each.feature: each.psi for each in measured}
    assert psi["odd"] is not None
    assert psi["odd"] < 0.05


def test_numbers_beyond_a_32_bit_float_are_refused_by_column(tmp_path: Path):
    told = refusal(customers(odd=normal(1e100), far=[1e39, *[0.5, 1.5] * 299, 2]), tmp_path)
    assert "odd: holds numbers beyond 3.4e+38" in told
    assert "far: holds numbers beyond 3.4e+38" in told


def test_a_column_with_too_long_a_name_says_to_rename_it(tmp_path: Path):
    told = refusal(customers(**{"n" * 257: normal(1)}), tmp_path)
    assert told.endswith("has a name of 257 characters; at most 256 are allowed: rename it")


@pytest.mark.parametrize("form", ["{}%", "{},5", "1.{:03},50", "${}.20", "{} €"])
def test_numbers_written_for_people_are_not_taken_for_categories(form: str, tmp_path: Path):
    told = refusal(customers(share=[form.format(row % 40) for row in range(ROWS)]), tmp_path)
    assert "share: holds numbers as people write them" in told
    assert "--categorical share" in told


def test_versions_and_post_codes_are_categories(tmp_path: Path):
    model = trained(
        customers(
            app=[f"1.{row % 5}.2" for row in range(ROWS)],
            post=[f"0{row % 9}0 1{row % 3}" for row in range(ROWS)],
        ),
        tmp_path,
    )
    assert [type(feature).__name__ for feature in model.manifest.features] == [
        "Numeric", "Categorical", "Categorical",
    ]  # fmt: skip


def test_a_text_with_blanks_around_it_is_the_category_on_both_ways(tmp_path: Path):
    """A program that reads the training file by itself sends them as they stand there."""
    model = trained(customers(work=[" Private", " State"] * (ROWS // 2)), tmp_path)
    plain, spaced = ({"x": 0.5, "work": text} for text in ("State", " State "))
    encode = Encoder(model.manifest).encode
    assert encode([spaced]).rows == encode([plain]).rows
    decode = RowDecoder(model.manifest, "records", max_text=99).decode
    sent = [decode(json.dumps({"records": [each]}).encode(), max_records=9) for each in (plain, spaced)]
    assert sent[0] is not None
    assert sent[0] == sent[1]


def fitted(frame: pd.DataFrame) -> Any:
    prepare = ColumnTransformer([("x", StandardScaler(), ["x"]), ("code", OneHotEncoder(), ["code"])])
    return make_pipeline(prepare, LogisticRegression()).fit(frame, frame["left"])


def probabilities_of_the_bundle(given: Any, frame: pd.DataFrame, directory: Path) -> Any:
    plan = ExportPlan(data=written(frame, directory), target="left", positive="yes", name="own", version="1")
    write_files(directory / "own", export(given, plan).files)
    model = load_model(directory / "own")
    rows = model.encoder.encode(frame[["x", "code"]].to_dict("records")).rows
    return model.scorer.probabilities(np.array(rows, dtype=np.float32))


@pytest.mark.parametrize(
    "codes", [(" a", " b"), ("1", "2"), ("true", "false"), ("5%", "10%")], ids=lambda codes: codes[1]
)
def test_texts_that_a_pipeline_learnt_are_exported_as_such(codes: tuple[str, str], tmp_path: Path):
    rng = np.random.default_rng(1)
    frame = customers(code=np.array(codes, dtype=object)[rng.integers(0, 2, ROWS)])
    frame["left"] = np.where((frame["code"] == codes[0]) ^ (rng.random(ROWS) < 0.1), "yes", "no")
    given = fitted(frame)
    found = probabilities_of_the_bundle(given, frame, tmp_path)
    assert found == pytest.approx(given.predict_proba(frame)[:, 1], abs=1e-5)


def test_none_is_missing_as_the_encoder_learnt_it(tmp_path: Path):
    """A data base gives None where a file gives NaN, and an encoder has a column for either."""
    rng = np.random.default_rng(1)
    code = np.array(["a", "b", None], dtype=object)[rng.integers(0, 3, ROWS)]
    frame = customers(code=pd.Series(code, dtype=object))
    frame["left"] = np.where(frame["code"].isna() ^ (rng.random(ROWS) < 0.1), "yes", "no")
    given = fitted(frame)
    found = probabilities_of_the_bundle(given, frame, tmp_path)
    assert found == pytest.approx(given.predict_proba(frame)[:, 1], abs=1e-5)


def test_few_churners_held_back_are_drawn_and_compared(tmp_path: Path):
    """The card of a rare outcome has four of them, and a file to measure on may be short."""
    rng = np.random.default_rng(2)
    frame = customers(level=rng.integers(0, 9, ROWS))
    frame["left"] = np.where(frame["x"].rank() > ROWS - 20, "yes", "no")
    data, out, page = written(frame, tmp_path), tmp_path / "rare", tmp_path / "rare.html"
    meant = ["--target", "left", "--positive", "yes", "--name", "rare", "--version", "1"]
    told = CliRunner().invoke(app, ["train", str(data), *meant, "--out", str(out), "--card", str(page)])
    assert told.exit_code == 0, told.output
    short = pd.concat([frame[frame["left"] == "yes"][:2], frame[frame["left"] == "no"][:5]])
    short.to_csv(tmp_path / "short.csv", index=False)
    for command in (["compare", out, out, tmp_path / "short.csv", "--resamples", 20],
                    ["card", out, tmp_path / "short.csv", "--out", page]):  # fmt: skip
        told = CliRunner().invoke(app, [str(word) for word in command])
        assert told.exit_code == 0, told.output
        assert "nan" not in told.output + page.read_text()
