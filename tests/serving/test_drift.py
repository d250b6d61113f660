"""Live drift: what moved exceeds the rule's bounds, what did not stays below."""

import csv
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from churn_serving.drift import MIN_SAMPLE, Drift, Measured, jensen_shannon, population_stability
from churn_serving.features import parse_cell, to_matrix
from churn_serving.model import Model, load_model
from churn_serving.routing import build_single_table
from churn_serving.server.metrics import Metrics
from churn_serving.server.probes import ProbeApp
from churn_serving.server.state import Serving
from churn_serving.settings import Settings

from .asgi import call
from .conftest import TELCO_CSV

DAY = 86_400.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def drift(telco_model: Model, clock: Clock) -> Drift:
    return Drift(telco_model.manifest, telco_model.reference, window_seconds=DAY, clock=clock)


@pytest.fixture(scope="module")
def customers(telco_model: Model) -> list[dict[str, Any]]:
    features = telco_model.manifest.features
    with TELCO_CSV.open(newline="") as file:
        rows = [
            {feature.name: parse_cell(feature, row[feature.name]) for feature in features}
            for row in csv.DictReader(file)
        ]
    random.Random(3).shuffle(rows)  # noqa: S311 (a sample, not a secret)
    return rows


def send(drift: Drift, model: Model, records: list[dict[str, Any]], at_once: int = 64) -> None:
    for start in range(0, len(records), at_once):
        rows = model.encoder.encode(records[start : start + at_once]).rows
        matrix = to_matrix(rows, len(model.manifest.features))
        drift.observe(matrix, model.scorer.probabilities(matrix))
        matrix[:] = -77  # memory that is used again must not change what was counted


def measured(drift: Drift) -> dict[str | None, Measured]:
    return {found.feature: found for found in drift.measure()[1]}


def test_psi_is_what_a_hand_computes():
    reference, live = [10, 30, 60, 0], [40, 30, 0, 0]
    shares = [((r + 0.5) / 101.5, (f + 0.5) / 71.5) for r, f in zip(reference, live, strict=True)][:3]
    by_hand = sum((f - r) * math.log(f / r) for r, f in shares)
    assert population_stability(np.array(reference), np.array(live)) == pytest.approx(by_hand)
    bits = sum(r * math.log2(2 * r / (r + f)) / 2 + f * math.log2(2 * f / (r + f)) / 2 for r, f in shares)
    assert jensen_shannon(np.array(reference), np.array(live)) == pytest.approx(bits)


def test_the_same_counts_have_not_moved():
    counts = np.array([5, 0, 7])
    assert population_stability(counts, counts) == jensen_shannon(counts, counts) == 0


def test_the_same_population_stays_below_every_bound(
    drift: Drift, telco_model: Model, customers: list[dict[str, Any]]
):
    send(drift, telco_model, customers[:2000])
    found = measured(drift)
    assert drift.measure()[0] == 2000
    assert len(found) == len(telco_model.manifest.features) + 1
    assert {name: m.psi for name, m in found.items() if m.psi is None or m.psi >= 0.1} == {}
    assert all(0 <= (m.jensen_shannon or 0) < 0.02 for m in found.values())


def test_what_moved_exceeds_the_bound_and_only_that(
    drift: Drift, telco_model: Model, customers: list[dict[str, Any]]
):
    moved = [row for row in customers if row["Contract"] == "Month-to-month"][:2000]
    send(drift, telco_model, moved)
    found = measured(drift)
    for name in ("Contract", "tenure", None):
        assert (found[name].psi or 0) > 0.25, name
    for name in ("gender", "PhoneService"):
        assert (found[name].psi or 1) < 0.1, name


def test_counts_are_the_references_own_where_training_rows_come_again(
    telco_model: Model, drift: Drift, customers: list[dict[str, Any]]
):
    """Every edge's value lies in the same bin as in training, though the matrix is scaled float32."""
    send(drift, telco_model, customers)
    at = [feature.name for feature in telco_model.manifest.features].index("tenure")
    reference: Any = telco_model.reference.features["tenure"]
    values = np.array([row["tenure"] for row in customers])
    by_hand = np.bincount(np.searchsorted(reference.edges, values, side="right"))
    drift.measure()
    live = drift._halves[0][drift._offsets[at] : drift._offsets[at + 1]]
    assert live.tolist() == [*by_hand.tolist(), 0]


def test_unseen_and_missing_are_shares(drift: Drift, telco_model: Model, customers: list[dict[str, Any]]):
    odd = [row | {"Contract": "never seen"} for row in customers[:250]]
    empty = [row | {"TotalCharges": None} for row in customers[250:400]]
    whole = [row for row in customers[400:1100] if row["TotalCharges"] is not None][:600]
    send(drift, telco_model, odd + empty + whole)
    found = measured(drift)
    assert found["Contract"].unseen == pytest.approx(0.25)
    assert found["TotalCharges"].missing == pytest.approx(0.15, abs=0.01)
    assert found["gender"].unseen == 0
    assert found["tenure"].unseen is None


def test_a_small_sample_tells_its_size_and_nothing_else(
    drift: Drift, telco_model: Model, customers: list[dict[str, Any]]
):
    send(drift, telco_model, customers[: MIN_SAMPLE - 1])
    size, found = drift.measure()
    assert size == MIN_SAMPLE - 1
    assert {(m.psi, m.jensen_shannon, m.unseen, m.missing) for m in found} == {(None,) * 4}
    send(drift, telco_model, customers[:1])
    assert measured(drift)["gender"].psi is not None


def test_customers_leave_after_the_window(
    drift: Drift, telco_model: Model, customers: list[dict[str, Any]], clock: Clock
):
    sizes = []
    for hour in (1, 11, 13, 23, 25, 37, 100):
        clock.now = hour * 3600
        if hour in {1, 13}:
            send(drift, telco_model, customers[:600])
        sizes.append(drift.measure()[0])
    assert sizes == [600, 600, 1200, 1200, 600, 0, 0]


def test_one_large_call_counts_as_many_small_ones(
    telco_model: Model, customers: list[dict[str, Any]], clock: Clock
):
    found = []
    for at_once in (1, 3000):
        drift = Drift(telco_model.manifest, telco_model.reference, window_seconds=DAY, clock=clock)
        send(drift, telco_model, customers[:3000], at_once)
        found.append([(m.feature, round(m.psi or -1, 4)) for m in drift.measure()[1]])
    assert found[0] == found[1]


def test_booleans_and_numbers_may_be_missing(shop: Path, clock: Clock):
    model = load_model(shop)
    drift = Drift(model.manifest, model.reference, window_seconds=DAY, clock=clock)
    names = [feature.name for feature in model.manifest.features]
    matrix = np.zeros((1000, len(names)), dtype=np.float32)
    matrix[:400, names.index("age")] = np.nan
    matrix[:300, names.index("newsletter")] = np.nan
    drift.observe(matrix, np.full(1000, 0.5))
    found = measured(drift)
    assert (found["age"].missing, found["newsletter"].missing) == (0.4, 0.3)


async def test_the_gauges_appear_with_a_sample_and_not_when_switched_off(
    telco_model: Model, customers: list[dict[str, Any]]
):
    shown = []
    for on in (True, False):
        serving = Serving(
            settings=Settings(model=Path("unused"), drift=on),
            table=build_single_table(None, telco_model),
            metrics=Metrics(),
        )
        batcher, _ = serving.batcher(serving.table.routes[0])
        rows = telco_model.encoder.encode(customers[:1500]).rows
        await batcher.score_packed(to_matrix(rows, len(telco_model.manifest.features)).tobytes())
        text = (await call(ProbeApp(serving), "/metrics", method="GET")).body.decode()
        shown.append(text)
    labels = 'model="telco",revision="",version="1"'
    for line in (
        f"model_drift_sample_size{{{labels}}} 1500.0",
        f"model_score_psi{{{labels}}} 0.0",
        f'model_feature_psi{{feature="tenure",{labels}}} 0.0',
        f'model_feature_jensen_shannon{{feature="tenure",{labels}}} 0.0',
        f'model_feature_unseen_ratio{{feature="Contract",{labels}}} 0.0',
        f'model_feature_missing_ratio{{feature="TotalCharges",{labels}}} 0.0',
    ):
        assert line in shown[0]
        assert line not in shown[1]
