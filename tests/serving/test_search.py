"""A search for settings that suit the data better."""

from pathlib import Path

import numpy as np
import pytest

from churn_serving.bundle.sums import SUMS
from churn_serving.bundle.write import write_files
from churn_serving.model import load_model
from churn_serving.train.classifiers import Algorithm, new_classifier
from churn_serving.train.pipeline import Recipe
from churn_serving.train.search import SPACES, Found, search
from churn_serving.train.split import folds, split_at_random
from churn_serving.train.train import train

from .conftest import shop_plan
from .test_graphs import number


def searched(count: int, *, algorithm: Algorithm = Algorithm.LOGISTIC, seed: int = 0) -> Found:
    """On 40 columns of noise and a weak sign, where the default C learns the noise by heart."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(300, 40)).astype(np.float32)
    churned = matrix[:, 0] + rng.normal(scale=2, size=300) > 0
    features = [number(f"n{at}", nullable=False) for at in range(40)]
    parts = list(folds(split_at_random(churned, 0), churned, 3, 0))
    recipe = Recipe(algorithm, features, seed)
    return search(recipe, matrix, churned, parts, count=count, report=lambda *_: None)


def test_the_search_finds_settings_that_do_better_than_the_defaults():
    found = searched(8)
    assert found.chosen.parameters["C"] < 1
    assert found.chosen.auc == max(each.auc for each in found.candidates) > found.candidates[0].auc


def test_the_defaults_are_always_tried_and_a_small_space_only_once():
    found = searched(1000)
    assert found.candidates[0].parameters == {}
    assert sorted(each.parameters["C"] for each in found.candidates[1:]) == SPACES[Algorithm.LOGISTIC]["C"]


def test_the_seed_decides_what_is_tried():
    first, again, other = (searched(3, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert [each.parameters for each in first.candidates] != [each.parameters for each in other.candidates]


@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_setting_of_a_space_is_one_of_its_classifier(algorithm: Algorithm):
    known = new_classifier(algorithm, [number("x", nullable=False)], 100, 0, {}).get_params()
    assert set(SPACES[algorithm]) <= set(known)


def test_a_searched_model_is_what_the_card_says_and_the_same_again(shop_csv: Path, tmp_path: Path):
    told: list[tuple[int, int]] = []
    plan = shop_plan(shop_csv, algorithm=Algorithm.XGBOOST, search=2, cross_validate=3)
    first = train(plan, lambda done, total, _: told.append((done, total)))
    write_files(tmp_path / "bundle", first.files)
    assert load_model(tmp_path / "bundle").golden_deviation < 1e-5
    card = (tmp_path / "bundle" / "MODELCARD.md").read_text()
    assert "among the defaults and 2 others" in card
    assert "| `max_depth` | 2, 3, 4, 6 |" in card
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert train(plan).files[SUMS] == first.files[SUMS]
