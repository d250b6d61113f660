"""From a CSV file of any customers to a bundle."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from churn_serving.bundle.schema import Boolean, Categorical, Numeric
from churn_serving.bundle.sums import SUMS, digest_of
from churn_serving.bundle.write import write_files
from churn_serving.errors import DataError
from churn_serving.model import load_model
from churn_serving.train.classifiers import Algorithm
from churn_serving.train.train import TrainingPlan, train

from .conftest import TELCO_CSV, shop_plan

Edit = Callable[[list[list[str]]], None]


def rewrite(source: Path, target: Path, edit: Edit) -> Path:
    rows = list(csv.reader(source.read_text().splitlines()))
    edit(rows)
    with target.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return target


def set_column(name: str, value: Callable[[int], object]) -> Edit:
    def edit(rows: list[list[str]]) -> None:
        rows[0].append(name)
        for index, row in enumerate(rows[1:]):
            row.append(str(value(index)))

    return edit


def refusal(plan: TrainingPlan) -> str:
    with pytest.raises(DataError) as refused:
        train(plan)
    return str(refused.value)


def telco_plan(**changes: object) -> TrainingPlan:
    plan = {"data": TELCO_CSV, "target": "Churn", "positive": "Yes", "name": "telco", "version": "1"}
    return TrainingPlan(**(plan | {"id_column": "customerID"} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_same_input_gives_the_same_digest(shop_csv: Path, algorithm: Algorithm):
    first, second = (train(shop_plan(shop_csv, algorithm=algorithm)).files for _ in range(2))
    assert digest_of(first[SUMS]) == digest_of(second[SUMS])


def test_another_seed_gives_another_model(shop_csv: Path):
    first, second = (train(shop_plan(shop_csv, seed=seed)).files["model.onnx"] for seed in (0, 1))
    assert first != second


def test_source_date_epoch_is_the_creation_time(shop_csv: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert train(shop_plan(shop_csv)).manifest.created == "2023-11-14T22:13:20Z"


def test_the_telco_model_ranks_as_well_as_simple_models_do():
    """0.84 to 0.86 is what the data's notes say of logistic models and boosted trees."""
    metrics = train(telco_plan()).manifest.metrics
    assert 0.84 < metrics.auc < 0.87
    assert metrics.lift_top_decile > 2.5
    assert metrics.holdout_rows == 1409


def test_kinds_are_inferred(shop_csv: Path):
    trained = train(shop_plan(shop_csv))
    kinds = {feature.name: (type(feature), feature.nullable) for feature in trained.manifest.features}
    assert kinds == {
        "age": (Numeric, True),
        "balance": (Numeric, False),
        "plan": (Categorical, True),
        "newsletter": (Boolean, False),
        "visits": (Numeric, False),
        "region": (Categorical, False),
    }
    assert trained.manifest.classes == ("0", "1")


def test_telcos_blank_total_charges_are_missing_numbers():
    features = {feature.name: feature for feature in train(telco_plan()).manifest.features}
    assert isinstance(features["TotalCharges"], Numeric)
    assert features["TotalCharges"].nullable


@pytest.mark.parametrize(
    ("column", "value", "why", "option"),
    [
        ("signup", lambda i: f"2024-03-{i % 28 + 1:02}", "dates", "--drop signup"),
        ("seen at", lambda i: f"{i % 28 + 1}/3/24 10:00", "dates", "--drop 'seen at'"),
        ("street", lambda i: f"street {i % 300}", "300 different texts", "--drop street"),
        ("token", lambda i: f"t{i:x}", "different in every row", "--drop token"),
        ("row_id", lambda i: i * 7, "its own number", "--drop row_id"),
        ("position", lambda i: i, "its own number", "--drop position"),
        ("spend", lambda i: "unknown" if i % 90 == 0 else i / 7, "except in 7 rows", "--drop spend"),
    ],
)
def test_a_column_that_cannot_be_learnt_is_named_with_the_option_that_mends_it(
    shop_csv: Path, tmp_path: Path, *, column: str, value: Callable[[int], object], why: str, option: str
):
    data = rewrite(shop_csv, tmp_path / "d.csv", set_column(column, value))
    told = refusal(shop_plan(data))
    assert why in told
    assert told.endswith(f"Add: {option}")
    assert train(shop_plan(data, drop=["joined", column])).manifest.ignored == ["joined", column]


def test_without_id_the_message_offers_id_for_it_and_drop_for_the_rest(shop_csv: Path):
    told = refusal(shop_plan(shop_csv, id_column=None, drop=[]))
    assert told.endswith("Add: --id account --drop joined")


def test_post_codes_are_texts(shop_csv: Path, tmp_path: Path):
    data = rewrite(shop_csv, tmp_path / "d.csv", set_column("zip", lambda i: f"0{i % 9}123"))
    assert isinstance(train(shop_plan(data)).manifest.features[-1], Categorical)


def test_numbers_that_are_codes_become_categories_when_told(shop_csv: Path):
    features = {f.name: f for f in train(shop_plan(shop_csv, categorical=["visits"])).manifest.features}
    assert isinstance(features["visits"], Categorical)
    assert "30" in features["visits"].categories


def test_a_constant_column_is_left_out_and_told(shop_csv: Path, tmp_path: Path):
    data = rewrite(shop_csv, tmp_path / "d.csv", set_column("country", lambda _: "CH"))
    assert ("country", "the same value in every row") in train(shop_plan(data)).ignored


def test_a_column_that_is_sometimes_given_is_learnt(shop_csv: Path, tmp_path: Path):
    data = rewrite(shop_csv, tmp_path / "d.csv", set_column("bonus", lambda i: "5" if i % 2 else ""))
    feature = train(shop_plan(data)).manifest.features[-1]
    assert isinstance(feature, Numeric)
    assert feature.nullable


@pytest.mark.parametrize("positive", ["1", "1.0", " 1 "])
def test_the_positive_value_is_compared_as_text_and_as_number(shop_csv: Path, positive: str):
    assert train(shop_plan(shop_csv, positive=positive)).manifest.positive == "1"


def test_rows_without_a_target_are_left_out_and_counted(shop_csv: Path, tmp_path: Path):
    def blank(rows: list[list[str]]) -> None:
        for row in rows[1:31]:
            row[-1] = ""

    assert train(shop_plan(rewrite(shop_csv, tmp_path / "d.csv", blank))).unlabelled_rows == 30


def test_several_other_outcomes_are_one_class(shop_csv: Path, tmp_path: Path):
    def three(rows: list[list[str]]) -> None:
        for index, row in enumerate(rows[1:]):
            row[-1] = ["stayed", "left", "joined"][index % 3]

    data = rewrite(shop_csv, tmp_path / "d.csv", three)
    assert train(shop_plan(data, positive="left")).manifest.classes == ("not left", "left")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "Left"}, "did you mean 'left'?"),
        ({"target": "zzzzz"}, "there is no column 'zzzzz'"),
        ({"id_column": "acount"}, "did you mean 'account'?"),
        ({"drop": ["joind"]}, "--drop: there is no column 'joind'; did you mean 'joined'?"),
        ({"drop": ["left"]}, "the target or the id"),
        ({"id_column": "left"}, "same column"),
        ({"positive": "yes"}, "it holds '0', '1'"),
    ],
)
def test_a_wrong_option_says_what_there_is(shop_csv: Path, changes: dict[str, object], message: str):
    told = refusal(shop_plan(shop_csv, **changes))
    assert message in told or message.replace("'0', '1'", "'1', '0'") in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a;b;c\n1;2;3\n", "separated by semicolons"),
        (b"a\tb\n1\t2\n", "separated by tabs"),
        (b"a,b,a\n1,2,3\n", "twice: a"),
        (b"a,,c\n1,2,3\n", "column 2 has no name"),
        (b"name,left\nJos\xe9,1\n", "is not UTF-8 after line 1"),
        (b"a,left\n1,0\n1,2,3\n", "line 3: has 3 cells, the header 2"),
        (b'a,left\n"open,0\n', "is no CSV"),
        (b"a,left\n" + b"1,0\n" * 99, "has 99 customers"),
        (b"a,left\n" + b"1,1\n2,1\n" * 99, "in every row"),
        (b"a,left\n" + b"1,0\n2,0\n" * 99 + b"3,1\n" * 4, "only 4 rows"),
        (b"a,left\n" + b"1,0\n1,1\n" * 99, "no column is left"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, content: bytes, message: str):
    data = tmp_path / "d.csv"
    data.write_bytes(content)
    assert message in refusal(TrainingPlan(data=data, target="left", positive="1", name="m", version="1"))


def as_parquet(source: Path, target: Path) -> Path:
    """As a data platform writes it: typed columns, dictionaries, missing values."""
    import pandas as pd

    frame = pd.read_csv(source, dtype={"region": "category"})
    frame.to_parquet(target)
    return target


def test_parquet_gives_the_model_that_csv_gives(shop_csv: Path, tmp_path: Path):
    """Bundle for bundle the same, but for the digest of the data."""
    data = as_parquet(shop_csv, tmp_path / "shop.bin")
    ours, theirs = train(shop_plan(data)).files, train(shop_plan(shop_csv)).files
    same = [name for name in ours if ours[name] == theirs[name]]
    assert same == ["model.onnx", "golden.jsonl", "reference.json"]


def test_a_parquet_file_that_is_cut_off_says_so(shop_csv: Path, tmp_path: Path):
    data = as_parquet(shop_csv, tmp_path / "shop.parquet")
    data.write_bytes(data.read_bytes()[:4000])
    assert "no whole Parquet file" in refusal(shop_plan(data))


def test_a_parquet_column_of_lists_is_refused_by_name(tmp_path: Path):
    import pyarrow as pa
    from pyarrow import parquet

    rows = 200
    table = pa.table({"left": [n % 2 for n in range(rows)], "calls": [[n] for n in range(rows)]})
    parquet.write_table(table, tmp_path / "d.parquet")
    plan = TrainingPlan(data=tmp_path / "d.parquet", target="left", positive="1", name="m", version="1")
    assert "'calls' holds list" in refusal(plan)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_library_that_is_not_installed_is_named_with_what_installs_it(
    shop_csv: Path, monkeypatch: pytest.MonkeyPatch, library: str
):
    monkeypatch.setitem(sys.modules, library, None)
    told = refusal(shop_plan(shop_csv, algorithm=Algorithm(library)))
    assert told == f"--algorithm {library} needs: pip install 'churn-serving[{library}]'"


def test_a_file_that_is_not_there_says_so(tmp_path: Path):
    assert "No such file" in refusal(shop_plan(tmp_path / "none.csv"))


def test_writing_replaces_a_bundle_and_nothing_else(shop: Path, shop_csv: Path, tmp_path: Path):
    files = train(shop_plan(shop_csv)).files
    write_files(tmp_path / "out", files)
    write_files(tmp_path / "out", files)
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(files)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").write_text("years of work")
    with pytest.raises(DataError, match="no bundle"):
        write_files(tmp_path / "other", files)


def test_golden_rows_carry_no_customers_id(shop: Path):
    assert "account" not in (shop / "golden.jsonl").read_text()


def test_the_reference_counts_every_training_row(shop: Path):
    model = load_model(shop)
    for binned in model.reference.features.values():
        assert (
            sum(binned.counts) + binned.missing == model.reference.rows == model.manifest.metrics.train_rows
        )
    assert sum(model.reference.score.counts) == model.manifest.metrics.holdout_rows
