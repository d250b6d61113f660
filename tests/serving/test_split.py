"""What a model is measured on: later rows with --time-col, folds with --cross-validate."""

import csv
from pathlib import Path

import pytest

from churn_serving.bundle.write import write_files
from churn_serving.errors import DataError
from churn_serving.model import load_model
from churn_serving.train.train import train

from .conftest import shop_plan


def with_time(shop_csv: Path, target: Path, times: list[str]) -> Path:
    rows = list(csv.reader(shop_csv.read_text().splitlines()))
    rows[0].append("seen")
    for row, time in zip(rows[1:], times, strict=True):
        row.append(time)
    with target.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return target


def test_the_holdout_is_later_than_every_training_row(shop_csv: Path):
    """By `joined`, the shop's dates: what a random holdout refuses to learn from, this one sorts by."""
    trained = train(shop_plan(shop_csv, drop=[], time_column="joined"))
    dates = [row["joined"] for row in csv.DictReader(shop_csv.read_text().splitlines())]
    metrics = trained.manifest.metrics
    assert metrics.holdout_from is not None
    assert metrics.train_rows == sum(date < metrics.holdout_from for date in dates)
    assert metrics.holdout_rows == sum(date >= metrics.holdout_from for date in dates)
    assert 0.15 < metrics.holdout_rows / len(dates) < 0.25
    assert trained.ignored == [("joined", "--time-col")]


def test_times_may_be_numbers_and_carry_zones(shop_csv: Path, tmp_path: Path):
    zoned = [f"2026-01-01T00:{i // 60:02}:{i % 60:02}+02:00" for i in range(600)]
    for times in ([str(i) for i in range(600)], zoned):
        data = with_time(shop_csv, tmp_path / "d.csv", times)
        metrics = train(shop_plan(data, time_column="seen")).manifest.metrics
        assert (metrics.train_rows, metrics.holdout_from) == (480, times[480])


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["2026"] * 600, "is '2026' in every row"),
        (["2026-01-01"] * 599 + ["soon"], "holds 'soon' in customer 600"),
        (["2026-01-01"] * 599 + [""], "is empty in customer 600"),
        (["2026-01-01"] * 595 + ["2026-01-02"] * 5, "rows from 2026-01-02 are of the rarer outcome"),
    ],
)
def test_times_that_cannot_split_are_refused(shop_csv: Path, tmp_path: Path, times: list[str], message: str):
    data = with_time(shop_csv, tmp_path / "d.csv", times)
    with pytest.raises(DataError, match=message):
        train(shop_plan(data, time_column="seen"))


@pytest.mark.parametrize(("column", "message"), [("joind", "did you mean 'joined'"), ("left", "the target")])
def test_a_time_column_that_is_not_there_or_is_taken_is_refused(shop_csv: Path, column: str, message: str):
    with pytest.raises(DataError, match=message):
        train(shop_plan(shop_csv, time_column=column))


@pytest.mark.parametrize("time_column", [None, "joined"])
def test_cross_validation_is_stored_with_its_spread(shop_csv: Path, tmp_path: Path, time_column: str | None):
    plan = shop_plan(
        shop_csv, drop=[] if time_column else ["joined"], time_column=time_column, cross_validate=4
    )
    write_files(tmp_path / "bundle", train(plan).files)
    validation = load_model(tmp_path / "bundle").manifest.metrics.cross_validation
    assert validation is not None
    assert validation.folds == 4
    assert 0.5 < validation.auc.mean < 0.8
    assert 0 < validation.auc.deviation < 0.1
    assert "Cross-validated on 4 parts" in (tmp_path / "bundle" / "MODELCARD.md").read_text()


def test_cross_validation_does_not_change_the_model(shop_csv: Path):
    plain, validated = (
        train(shop_plan(shop_csv, cross_validate=folds)).files["model.onnx"] for folds in (None, 3)
    )
    assert plain == validated
