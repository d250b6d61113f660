"""The bundle of the samples is the one that `train` makes of the Telco data, and people can check it."""

import json
from pathlib import Path

import pytest

from churn_serving.bundle.schema import Manifest
from churn_serving.model import load_model
from churn_serving.train.card import build_card
from churn_serving.train.train import TrainingPlan, train

from .conftest import SAMPLE, TELCO_CSV


def test_the_sample_bundle_loads_and_reproduces():
    model = load_model(SAMPLE)
    assert model.golden_deviation < 1e-6
    assert (model.manifest.name, model.manifest.id) == ("telco", "customerID")


def test_the_sample_bundle_is_what_train_makes_of_the_telco_data():
    """Same columns, data and quality. Library versions and the last digits of weights are the machine's."""
    plan = TrainingPlan(
        data=TELCO_CSV, target="Churn", positive="Yes", name="telco", version="1", id_column="customerID"
    )
    fresh = train(plan)
    sample = load_model(SAMPLE).manifest
    for name in set(Manifest.__struct_fields__) - {"libraries", "metrics"}:
        assert getattr(fresh.manifest, name) == getattr(sample, name), name
    assert fresh.manifest.metrics.auc == pytest.approx(sample.metrics.auc, abs=1e-3)
    ours = [json.loads(line) for line in fresh.files["golden.jsonl"].splitlines()]
    theirs = [json.loads(line) for line in Path(SAMPLE / "golden.jsonl").read_text().splitlines()]
    assert [row["probability"] for row in ours] == pytest.approx(
        [row["probability"] for row in theirs], abs=1e-4
    )


def test_the_samples_card_is_current():
    assert (SAMPLE / "MODELCARD.md").read_text() == build_card(load_model(SAMPLE).manifest)
