"""Two models on the same rows."""

import csv
from pathlib import Path

import numpy as np
import pytest

from churn_serving.bundle.write import write_files
from churn_serving.errors import DataError
from churn_serving.model import Model, load_model
from churn_serving.train.compare import Comparison, compare
from churn_serving.train.table import read_table
from churn_serving.train.train import train

from .conftest import shop_plan


@pytest.fixture(scope="module")
def poor(shop_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that sees nothing but the region, which tells nothing, and calls many churners."""
    drop = ["joined", "age", "balance", "plan", "newsletter", "visits"]
    directory = tmp_path_factory.mktemp("poor") / "bundle"
    write_files(directory, train(shop_plan(shop_csv, drop=drop, threshold=0.1)).files)
    return load_model(directory)


def compared(first: Model, second: Model, data: Path, *, seed: int = 0) -> Comparison:
    return compare(first, second, read_table(data), resamples=40, seed=seed)


def test_a_better_model_is_better_beyond_its_interval(shop: Path, poor: Model, shop_csv: Path):
    found = compared(poor, load_model(shop), shop_csv)
    auc = found.metrics[0]
    assert (found.rows, found.left_out) == (600, 0)
    assert auc.difference.value == pytest.approx(auc.second.value - auc.first.value)
    assert 0 < auc.difference.low < auc.difference.value < auc.difference.high
    assert auc.first.low < auc.first.value < auc.first.high


def test_the_same_seed_gives_the_same_intervals_and_another_others(shop: Path, poor: Model, shop_csv: Path):
    first, again, other = (compared(poor, load_model(shop), shop_csv, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.metrics != other.metrics


def test_a_model_compared_with_itself_differs_nowhere(shop: Path, shop_csv: Path):
    model = load_model(shop)
    found = compared(model, model, shop_csv)
    assert [pair.difference for pair in found.metrics] == [(0, 0, 0)] * 3
    assert found.segments == [("all", "", 600, 0, 0)]


def test_flips_are_counted_by_segment(shop: Path, poor: Model, shop_csv: Path):
    """All are churners to the poor model, whose every region is above 0.1; the better one lets many stay."""
    found = compared(poor, load_model(shop), shop_csv)
    whole, *segments = found.segments
    assert whole.to_stay > 100
    assert whole.to_churn == 0
    regions = [segment for segment in segments if segment.column == "region"]
    assert sum(segment.to_stay for segment in regions) == whole.to_stay
    with shop_csv.open() as file:
        east = sum(row["region"] == "東京" for row in csv.DictReader(file))
    assert [segment.rows for segment in regions if segment.value == "東京"] == [east]


def test_rows_that_one_model_rejects_count_for_neither(
    shop: Path, poor: Model, shop_csv: Path, tmp_path: Path
):
    lines = shop_csv.read_text().splitlines()
    at = lines[0].split(",").index("visits")
    rows = list(csv.reader(lines))
    rows[5][at] = "many"
    with (tmp_path / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = compared(poor, load_model(shop), tmp_path / "d.csv")
    assert (found.rows, found.left_out) == (599, 1)
    assert np.isfinite([pair.second.value for pair in found.metrics]).all()


def test_models_of_different_targets_are_not_compared(shop: Path, telco_model: Model, shop_csv: Path):
    with pytest.raises(DataError, match="predict different things"):
        compared(load_model(shop), telco_model, shop_csv)
