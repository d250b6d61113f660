"""Reasons: what one column at a time does to a customer's probability."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from churn_serving.model import Model, load_model
from churn_serving.routing import build_single_table
from churn_serving.server.app import TrafficApp
from churn_serving.server.metrics import Metrics
from churn_serving.server.openapi import example_record
from churn_serving.server.probes import ProbeApp
from churn_serving.server.state import Serving
from churn_serving.settings import Settings

from .asgi import Answer, call
from .conftest import SAMPLE

GOLDEN = [json.loads(line)["record"] for line in (SAMPLE / "golden.jsonl").read_text().splitlines()]
ALL = 1000


def serving_of(model: Model, **changes: Any) -> Serving:
    return Serving(
        settings=Settings(model=Path("unused"), **changes),
        table=build_single_table(None, model),
        metrics=Metrics(),
    )


@pytest.fixture
def serving(telco_model: Model) -> Serving:
    return serving_of(telco_model)


async def ask(serving: Serving, *records: Any, **keys: Any) -> Answer:
    body = json.dumps({"records": records, **keys}).encode()
    return await call(TrafficApp(serving), "/predict", body)


async def predictions(serving: Serving, *records: Any, **keys: Any) -> list[dict[str, Any]]:
    answer = await ask(serving, *records, **keys)
    assert answer.status == 200, answer.body
    return answer.json["predictions"]  # type: ignore[no-any-return]


async def rescored_by_hand(serving: Serving, record: dict[str, Any]) -> dict[str, float]:
    """Points by column, from one request for each: the record with that column typical."""
    typical = example_record(serving.table.routes[0].model.manifest)
    (own,) = await predictions(serving, record)
    points = {}
    for feature in serving.table.routes[0].model.manifest.features:
        (changed,) = await predictions(serving, record | {feature.name: typical[feature.name]})
        points[feature.name] = own["probability"] - changed["probability"]
    return points


def check_by_hand(serving: Serving, record: dict[str, Any]) -> None:
    (told,) = asyncio.run(predictions(serving, record, explain=ALL))
    by_hand = asyncio.run(rescored_by_hand(serving, record))
    found = dict.fromkeys(by_hand, 0.0) | {r["column"]: r["points"] for r in told["reasons"]}
    # The last published digit of either score may fall differently when another batch computed it.
    assert found == pytest.approx(by_hand, abs=2.1e-6)
    total = told["typical_probability"] + sum(r["points"] for r in told["reasons"]) + told["rest"]
    assert total == pytest.approx(told["probability"], abs=1e-6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    base=st.sampled_from(GOLDEN),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "tenure": st.integers(0, 100),
            "MonthlyCharges": st.floats(0, 200),
            "TotalCharges": st.none() | st.floats(0, 20_000),
            "Contract": st.sampled_from(["One year", "Two year", "never seen"]),
        },
    ),
)
def test_rescoring_by_hand_gives_the_same_points(
    telco_model: Model, base: dict[str, Any], changes: dict[str, Any]
):
    check_by_hand(serving_of(telco_model), base | changes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
@given(
    record=st.fixed_dictionaries(
        {
            "age": st.none() | st.floats(10, 90),
            "balance": st.floats(4.99e7, 5.01e7),
            "plan": st.sampled_from(["basic", "plus", "pro, yearly", "", "gold"]),
            "newsletter": st.booleans(),
            "visits": st.integers(0, 40),
            "region": st.sampled_from(["Zürich", "東京", "Atlantis"]),
        }
    )
)
def test_so_it_does_where_columns_act_together(shop_model: Model, record: dict[str, Any]):
    check_by_hand(serving_of(shop_model), record)


@pytest.fixture(scope="session")
def shop_model(shop: Path) -> Model:
    return load_model(shop)


async def test_a_reason_shows_the_customers_value_the_typical_one_and_a_sign(serving: Serving):
    record = example_record(serving.table.routes[0].model.manifest)
    record |= {"tenure": 1, "Contract": "Two year"}
    (told,) = await predictions(serving, record, explain=ALL)
    reasons = {reason["column"]: reason for reason in told["reasons"]}
    assert reasons.keys() == {"tenure", "Contract"}, "the rest is typical, which is no reason"
    assert (reasons["tenure"]["value"], reasons["tenure"]["typical"]) == (1, 29)
    assert reasons["tenure"]["points"] > 0 > reasons["Contract"]["points"]
    assert (reasons["Contract"]["value"], reasons["Contract"]["typical"]) == ("Two year", "Month-to-month")


async def test_the_typical_customer_has_no_reasons_and_no_rest(serving: Serving):
    record = example_record(serving.table.routes[0].model.manifest)
    (told,) = await predictions(serving, record, explain=True)
    assert (told["reasons"], told["rest"]) == ([], 0)
    assert told["typical_probability"] == told["probability"]


async def test_the_strongest_come_first_and_the_number_is_the_callers(serving: Serving):
    (every,) = await predictions(serving, GOLDEN[0], explain=ALL)
    strengths = [abs(reason["points"]) for reason in every["reasons"]]
    assert strengths == sorted(strengths, reverse=True)
    assert len(strengths) > 5
    (five,) = await predictions(serving, GOLDEN[0], explain=5)
    (usual,) = await predictions(serving, GOLDEN[0], explain=True)
    assert five["reasons"] == every["reasons"][:5]
    assert usual["reasons"] == every["reasons"][:3]


def test_equal_points_stand_in_the_columns_order(telco_model: Model):
    class Flat:
        """Every change has the same effect, up or down."""

        def probabilities(self, matrix: Any) -> Any:
            import numpy as np

            found = np.full(len(matrix), 0.5)
            found[1:-1] = [0.4 if n % 2 else 0.6 for n in range(len(matrix) - 2)]
            return found

    from churn_serving.reasons import Explainer

    explainer = Explainer(telco_model.manifest, telco_model.encoder, Flat())  # type: ignore[arg-type]
    record = {**GOLDEN[0], "tenure": 1}
    import numpy as np

    matrix = np.full((1, len(telco_model.manifest.features)), 77, dtype=np.float32)
    (ranked,) = explainer.rank(explainer.probabilities(matrix))
    told = explainer.explain(ranked, record, ALL)
    assert [reason.column for reason in told.reasons] == [f.name for f in telco_model.manifest.features]


async def test_reasons_change_no_probability_and_count_each_customer_once(serving: Serving):
    plain = await predictions(serving, *GOLDEN)
    explained = await predictions(serving, *GOLDEN, explain=True)
    of = [[p["probability"] for p in answer] for answer in (plain, explained)]
    assert of[0] == pytest.approx(of[1], abs=1.1e-6)
    _, counts = serving.batcher(serving.table.routes[0])
    text = (await call(ProbeApp(serving), "/metrics", method="GET")).body.decode()
    labels = 'model="telco",revision="",version="1"'
    assert f"model_probability_count{{{labels}}} {2 * len(GOLDEN)}.0" in text
    assert counts.churn + counts.stay == 2 * len(GOLDEN)


async def test_requests_of_one_tick_are_explained_in_one_call(serving: Serving):
    answers = await asyncio.gather(*(predictions(serving, record, explain=2) for record in GOLDEN[:10]))
    _, counts = serving.batcher(serving.table.routes[0])
    assert sum(counts.batch_rows.counts) == 1
    alone = await predictions(serving, GOLDEN[4], explain=2)
    assert [r["column"] for r in answers[4][0]["reasons"]] == [r["column"] for r in alone[0]["reasons"]]


async def test_without_being_asked_nothing_is_explained(serving: Serving):
    for keys in ({}, {"explain": False}):
        (told,) = await predictions(serving, GOLDEN[0], **keys)
        assert told.keys().isdisjoint({"reasons", "rest", "typical_probability"})


@pytest.mark.parametrize("explain", [0, -1, 1001, 1.5, "yes", None, [], 10**30])
async def test_another_explain_is_refused_with_what_it_may_be(serving: Serving, explain: Any):
    answer = await ask(serving, GOLDEN[0], explain=explain)
    assert answer.status == 422
    assert "explain must be true, false or a number of reasons, 1 to 1000" in answer.error["message"]


async def test_a_key_besides_explain_is_refused(serving: Serving):
    assert (await ask(serving, GOLDEN[0], explain=True, threshold=0.1)).status == 422


async def test_a_key_named_twice_is_found_beside_explain(serving: Serving):
    body = json.dumps({"records": [GOLDEN[0]], "explain": True}).replace(
        '"tenure"', '"gender": "x", "tenure"'
    )
    assert (await call(TrafficApp(serving), "/predict", body.encode())).error["code"] == "duplicate_key"


async def test_more_than_may_be_explained_is_413_and_says_how_many_may(telco_model: Model):
    serving = serving_of(telco_model, max_explained_rows=100)
    answer = await ask(serving, *GOLDEN[:6], explain=True)
    assert (answer.status, answer.error["code"]) == (413, "too_many_records")
    assert "at most 5" in answer.error["message"]
    assert (await ask(serving, *GOLDEN[:5], explain=True)).status == 200
    assert (await ask(serving, *GOLDEN[:6])).status == 200


async def test_a_record_that_overflows_is_unscorable_with_reasons_too(steep_model: Model):
    serving = serving_of(steep_model)
    answer = await ask(serving, GOLDEN[0], GOLDEN[1] | {"tenure": -1.6e38}, explain=True)
    assert (answer.status, answer.error["code"]) == (422, "unscorable_records")
    assert [detail["record"] for detail in answer.error["details"]] == [1]


async def test_v1_explain_gives_predictions_and_explanations(serving: Serving):
    body = json.dumps({"instances": GOLDEN[:4]}).encode()
    answer = await call(TrafficApp(serving), "/v1/models/telco:explain", body)
    plain = await predictions(serving, *GOLDEN[:4], explain=True)
    assert answer.status == 200
    assert [e["reasons"] for e in answer.json["explanations"]] == [p["reasons"] for p in plain]
    assert [p["probability"] for p in answer.json["predictions"]] == [p["probability"] for p in plain]


async def test_openapi_names_explain_and_what_it_gives(serving: Serving):
    api = (await call(TrafficApp(serving), "/openapi.json", method="GET")).json
    schemas = api["components"]["schemas"]
    assert "explain" in schemas["PredictRequest"]["properties"]
    assert schemas["Reason"]["required"] == ["column", "value", "typical", "points"]
    assert "/v1/models/telco:explain" in api["paths"]
