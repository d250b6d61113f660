"""What each route answers, in process; each hostile body has its 4xx."""

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

from .asgi import JSON, Answer, call
from .conftest import SAMPLE

GOLDEN = [json.loads(line) for line in (SAMPLE / "golden.jsonl").read_text().splitlines()[:50]]


def serving_of(model: Model, **changes: Any) -> Serving:
    settings = Settings(model=Path("unused"), **changes)
    return Serving(settings=settings, table=build_single_table(None, model), metrics=Metrics())


@pytest.fixture
def serving(telco_model: Model) -> Serving:
    return serving_of(telco_model, max_records=50, max_body_bytes=100_000)


@pytest.fixture
def app(serving: Serving) -> TrafficApp:
    return TrafficApp(serving)


@pytest.fixture
def record(telco_model: Model) -> dict[str, Any]:
    return example_record(telco_model.manifest)


async def predict(app: TrafficApp, *records: Any) -> Answer:
    return await call(app, "/predict", json.dumps({"records": records}).encode())


async def test_predict_answers_each_record_in_order(app: TrafficApp, record: dict[str, Any]):
    answer = await predict(app, record, record | {"customerID": 42, "tenure": 70})
    first, second = answer.json["predictions"]
    assert (answer.json["model"], answer.json["version"]) == ("telco", "1")
    assert "revision" not in answer.json
    assert (first["id"], second["id"]) == ("C-1", 42)
    assert first["probability"] > second["probability"]
    assert first["prediction_id"] != second["prediction_id"]
    assert first["churn"] is (first["probability"] >= first["threshold"])


async def test_a_record_without_id_gets_an_answer_without_id(app: TrafficApp, record: dict[str, Any]):
    del record["customerID"]
    (prediction,) = (await predict(app, record)).json["predictions"]
    assert "id" not in prediction


async def test_golden_records_get_their_probabilities(app: TrafficApp):
    answer = await predict(app, *(row["record"] for row in GOLDEN))
    found = [prediction["probability"] for prediction in answer.json["predictions"]]
    assert found == pytest.approx([row["probability"] for row in GOLDEN], abs=1e-5)


async def test_v1_predict_takes_instances(app: TrafficApp, record: dict[str, Any]):
    body = json.dumps({"instances": [record]}).encode()
    answer = await call(app, "/v1/models/telco:predict", body)
    assert answer.status == 200
    assert (
        answer.json["predictions"][0]["probability"]
        == (await predict(app, record)).json["predictions"][0]["probability"]
    )


async def test_v1_errors_are_one_text(app: TrafficApp):
    answer = await call(app, "/v1/models/telco:predict", b'{"instances": [{}]}')
    assert answer.status == 422
    assert "'tenure': column is missing" in answer.error


async def test_requests_of_one_tick_are_scored_in_one_call(
    serving: Serving, app: TrafficApp, record: dict[str, Any]
):
    answers = await asyncio.gather(*(predict(app, record | {"tenure": tenure}) for tenure in range(30)))
    probabilities = [answer.json["predictions"][0]["probability"] for answer in answers]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(set(probabilities)) == 30
    _, counts = serving.batcher(serving.table.routes[0])
    assert sum(counts.batch_rows.counts) == 1


async def test_more_rows_than_a_batch_holds_keep_their_order(telco_model: Model, record: dict[str, Any]):
    app = TrafficApp(serving_of(telco_model, batch_rows=4))
    alone = (await predict(app, record)).json["predictions"][0]["probability"]
    answer = await predict(app, *(record | {"tenure": 72 if n == 9 else record["tenure"]} for n in range(11)))
    different = [n for n, p in enumerate(answer.json["predictions"]) if p["probability"] != alone]
    assert different == [9]


async def test_one_bad_request_does_not_fail_its_neighbours(app: TrafficApp, record: dict[str, Any]):
    good, bad = await asyncio.gather(predict(app, record), predict(app, record | {"tenure": "x"}))
    assert (good.status, bad.status) == (200, 422)


async def test_wrong_missing_and_extra_columns_are_named_at_once(app: TrafficApp, record: dict[str, Any]):
    del record["Contract"]
    answer = await predict(app, record | {"tenure": "12", "Tenure": 12})
    assert answer.status == 422
    assert answer.error["code"] == "invalid_records"
    assert {(d["column"], d["problem"]) for d in answer.error["details"]} == {
        ("Contract", "missing"),
        ("tenure", "invalid"),
        ("Tenure", "unexpected"),
    }


async def test_one_bad_record_of_many_is_found_by_its_place(app: TrafficApp, record: dict[str, Any]):
    answer = await predict(app, *[record] * 30, record | {"tenure": None})
    assert [detail["record"] for detail in answer.error["details"]] == [30]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="empty"),
        pytest.param(b"{", 400, id="cut off"),
        pytest.param(b'{"records": [{"tenure": NaN}]}', 400, id="NaN"),
        pytest.param(b'{"records": [{"tenure": -Infinity}]}', 400, id="Infinity"),
        pytest.param(b'{"records": [{"tenure": 1e400}]}', 422, id="1e400"),
        pytest.param(b'{"records": [{"tenure": ' + b"9" * 4000 + b"}]}", 422, id="4000 digits"),
        pytest.param(b'{"records": [{"tenure": ' + b"9" * 5000 + b"}]}", 422, id="5000 digits"),
        pytest.param(b'{"records": [{"Contract": "\\ud800"}]}', 400, id="lone surrogate"),
        pytest.param(b'{"records": [{"\\ud800": 1}]}', 400, id="lone surrogate as a name"),
        pytest.param(b'{"records": [{"Contract": "\xff"}]}', 400, id="bad UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"records": []}', 400, id="byte order mark"),
        pytest.param('{"records": []}'.encode("utf-16"), 400, id="UTF-16"),
        pytest.param(b'{"records": []} x', 400, id="trailing bytes"),
        pytest.param(b'{"records": ' + b"[" * 40_000, 400, id="deep lists"),
        pytest.param(b'{"records": [{"tenure": ' + b'{"a":' * 9_000, 400, id="deep objects"),
        pytest.param(b'{"records": [{"tenure": 1, "tenure": 2}]}', 400, id="duplicate key"),
        pytest.param(b'{"records": [], "records": [{}]}', 400, id="duplicate records"),
        pytest.param(b'{"records": []}', 422, id="no records"),
        pytest.param(b'{"records": {}}', 422, id="records no list"),
        pytest.param(b'{"records": [[1]]}', 422, id="record a list"),
        pytest.param(b'{"records": ["abc", null, 3]}', 422, id="records no objects"),
        pytest.param(b"[]", 422, id="a list"),
        pytest.param(b"null", 422, id="null"),
        pytest.param(b'{"instances": [{}]}', 422, id="the other protocol's key"),
        pytest.param(b'{"records": [{}], "threshold": 0}', 422, id="another key"),
        pytest.param(b'{"records": [' + b"{}," * 50 + b"{}]}", 413, id="too many records"),
        pytest.param(b" " * 100_001, 413, id="too many bytes"),
    ],
)
async def test_a_hostile_body_is_refused(app: TrafficApp, body: bytes, status: int):
    answer = await call(app, "/predict", body)
    assert answer.status == status
    assert set(answer.error) == {"code", "message", "details"}
    assert len(answer.body) <= 16_384


async def test_a_duplicate_key_behind_a_colon_in_a_text_is_found(app: TrafficApp, record: dict[str, Any]):
    body = json.dumps({"records": [record | {"Contract": "a: b"}]})
    assert (await call(app, "/predict", body.encode())).status == 200
    assert (
        await call(app, "/predict", body.replace('"tenure"', '"gender": "x", "tenure"').encode())
    ).status == 400


async def test_an_error_is_bounded_and_holds_nothing_that_was_sent(app: TrafficApp, record: dict[str, Any]):
    rows = [
        record | {"tenure": "SECRET", "Contract": ["SECRET"], "\u0001" * 500 + str(n): 1} for n in range(8)
    ]
    answer = await predict(app, *rows)
    assert answer.status == 422
    assert len(answer.body) <= 16_384
    assert len(answer.error["details"]) == 20
    assert b"SECRET" not in answer.body


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/jsonp"},
        JSON | {"content-encoding": "br"},
    ],
)
async def test_a_body_that_is_not_declared_as_json_is_415(app: TrafficApp, headers: dict[str, str]):
    answer = await call(app, "/predict", b"{}", headers=headers)
    assert answer.status == 415
    assert "application/json" in answer.error["message"] or "zstd" in answer.error["message"]


@pytest.mark.parametrize("value", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'])
async def test_json_in_utf_8_is_accepted_however_it_is_said(
    app: TrafficApp, record: dict[str, Any], value: str
):
    body = json.dumps({"records": [record]}).encode()
    assert (await call(app, "/predict", body, headers={"content-type": value})).status == 200


async def test_a_body_in_parts_is_put_together(app: TrafficApp, record: dict[str, Any]):
    body = json.dumps({"records": [record]}).encode()
    assert (await call(app, "/predict", [body[:5], b"", body[5:90], body[90:]])).status == 200


async def test_a_streamed_body_is_refused_when_it_passes_the_cap(app: TrafficApp):
    assert (await call(app, "/predict", [b" " * 60_000] * 3)).status == 413


async def test_a_declared_length_beyond_the_cap_is_refused_unread(app: TrafficApp):
    assert (await call(app, "/predict", b"", headers=JSON | {"content-length": "1" * 30})).status == 413


async def test_a_client_that_leaves_gets_no_answer(app: TrafficApp):
    assert (await call(app, "/predict", [b"{"], disconnects=True)).status == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("DELETE", "/predict", 405),
        ("POST", "/docs", 405),
        ("OPTIONS", "/livez", 405),
        ("GET", "/nothing", 404),
        ("POST", "//predict", 404),
        ("POST", "/predict/", 404),
        ("POST", "/../predict", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/metrics", 404),
    ],
)
async def test_a_wrong_path_or_method_has_its_protocols_error_shape(
    app: TrafficApp, method: str, path: str, status: int
):
    answer = await call(app, path, method=method)
    assert answer.status == status
    assert answer.error if path.startswith("/v1/") else answer.error["code"]
    if status == 405:
        assert answer.headers["allow"]


async def test_metadata_says_what_is_loaded(app: TrafficApp, telco_model: Model):
    found = (await call(app, "/v1/models/telco", method="GET")).json
    assert (found["name"], found["ready"]) == ("telco", True)
    (revision,) = found["revisions"]
    assert revision["digest"] == telco_model.digest
    assert [feature["name"] for feature in revision["features"]][:2] == ["gender", "SeniorCitizen"]
    assert revision["ignored"] == []


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/ready"])
async def test_probes_answer_on_the_traffic_port(app: TrafficApp, path: str):
    assert (await call(app, path, method="GET")).status == 200


async def test_draining_fails_readiness_and_closes_connections_and_still_answers(
    serving: Serving, app: TrafficApp, record: dict[str, Any]
):
    serving.draining = True
    answer = await predict(app, record)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    for port in (app, ProbeApp(serving)):
        assert (await call(port, "/readyz", method="GET")).status == 503
        assert (await call(port, "/livez", method="GET")).status == 200


async def test_the_example_of_the_documentation_is_scored(app: TrafficApp):
    """What the first click on /docs sends."""
    api = (await call(app, "/openapi.json", method="GET")).json
    example = api["components"]["examples"]["PredictRequest"]["value"]
    answer = await call(app, "/predict", json.dumps(example).encode())
    assert answer.status == 200


async def test_the_documentation_needs_no_other_host(app: TrafficApp):
    page = await call(app, "/docs", method="GET")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b"://" not in page.body


async def test_openapi_has_this_models_columns(app: TrafficApp):
    record = (await call(app, "/openapi.json", method="GET")).json["components"]["schemas"]["Record"]
    assert record["properties"]["Contract"]["examples"] == ["Month-to-month", "One year", "Two year"]
    assert record["properties"]["TotalCharges"]["type"] == ["number", "null"]
    assert "customerID" not in record["required"]
    assert record["additionalProperties"] is False


async def test_a_record_that_overflows_inside_the_graph_is_that_records_fault(
    steep_model: Model, record: dict[str, Any]
):
    """The scaled number is one that float32 holds; times its weight it is not."""
    app = TrafficApp(serving_of(steep_model))
    far = record | {"tenure": -1.6e38}
    bad, good = await asyncio.gather(predict(app, record, far), predict(app, record))
    assert (bad.status, bad.error["code"]) == (422, "unscorable_records")
    assert [detail["record"] for detail in bad.error["details"]] == [1]
    assert good.status == 200


async def test_a_failure_inside_is_a_500_without_the_customers_data(
    serving: Serving, app: TrafficApp, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: Any
):
    def fail(matrix: object) -> None:
        raise RuntimeError("SECRET")

    batcher, _ = serving.batcher(serving.table.routes[0])
    monkeypatch.setattr(batcher, "_call", fail)
    answer = await predict(app, record)
    assert (answer.status, answer.error["code"]) == (500, "internal")
    assert "SECRET" not in answer.body.decode() + "".join(capfd.readouterr())


async def test_metrics_count_what_was_answered(serving: Serving, app: TrafficApp, record: dict[str, Any]):
    await predict(app, record, record | {"tenure": 1000, "Contract": "never seen", "TotalCharges": None})
    await predict(app, {})
    await call(app, "/made-up-path", method="GET")
    text = (await call(ProbeApp(serving), "/metrics", method="GET")).body.decode()
    labels = 'model="telco",revision="",version="1"'
    for line in (
        'http_requests_total{method="POST",route="/predict",status="200"} 1.0',
        'http_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'model_errors_total{code="invalid_records"} 1.0',
        f"model_batch_rows_sum{{{labels}}} 2.0",
        f"model_probability_count{{{labels}}} 2.0",
        f"model_inference_duration_seconds_count{{{labels}}} 1.0",
        'model_feature_out_of_range_total{feature="tenure",model="telco",revision="",version="1"} 1.0',
        'model_feature_unseen_category_total{feature="Contract",model="telco",revision="",version="1"} 1.0',
        'model_feature_missing_total{feature="TotalCharges",model="telco",revision="",version="1"} 1.0',
    ):
        assert line in text
    assert "made-up-path" not in text
    predictions = [line for line in text.splitlines() if line.startswith("model_predictions_total")]
    assert sum(float(line.split()[-1]) for line in predictions) == 2


async def test_every_bucket_of_a_histogram_holds_the_smaller_ones(
    serving: Serving, app: TrafficApp, record: Any
):
    await predict(app, *[record] * 20)
    text = (await call(ProbeApp(serving), "/metrics", method="GET")).body.decode()
    counts = [
        float(line.split()[-1]) for line in text.splitlines() if line.startswith("model_probability_bucket")
    ]
    assert counts == sorted(counts)
    assert counts[-1] == 20


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["records", "tenure", "Contract"]) | st.text(), inner)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(body=st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_body_gives_a_5xx(telco_model: Model, body: bytes):
    answer = asyncio.run(call(TrafficApp(serving_of(telco_model)), "/predict", body))
    assert 400 <= answer.status < 500


async def test_another_schema_is_served_as_well(shop: Path):
    model = load_model(shop)
    app = TrafficApp(serving_of(model))
    record = {
        "account": 1,
        "age": None,
        "balance": 5e7,
        "plan": "",
        "newsletter": True,
        "visits": 3,
        "region": "東京",
    }
    answer = await predict(app, record, record | {"joined": "2024-01-01", "left": 0, "region": "Atlantis"})
    assert answer.status == 200
    refused = await predict(app, record | {"newsletter": "True", "region": None})
    assert [detail["column"] for detail in refused.error["details"]] == ["newsletter", "region"]
