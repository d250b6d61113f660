"""The short way of a body to the model's rows gives what the long way gives, or leaves the body to it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_serving.features import InvalidRecordsError, to_matrix
from churn_serving.model import Model, load_model
from churn_serving.server.http import RequestError
from churn_serving.server.records import decode_records
from churn_serving.server.rows import RowDecoder

from .conftest import SAMPLE

GOLDEN = [json.loads(line)["record"] for line in (SAMPLE / "golden.jsonl").read_text().splitlines()]


def short(model: Model, body: bytes) -> Any:
    return RowDecoder(model.manifest, "records", max_text=8192).decode(body, max_records=100)


def long(model: Model, body: bytes) -> Any:
    records, explain = decode_records(body, "records", max_records=100)
    encoded = model.encoder.encode(records)
    return to_matrix(encoded.rows, len(model.manifest.features)).tobytes(), encoded.ids, explain


def body_of(*records: Any) -> bytes:
    return json.dumps({"records": records}).encode()


def test_golden_records_go_the_short_way_to_the_same_bytes(telco_model: Model):
    body = body_of(*(record | {"customerID": f"C-{n}"} for n, record in enumerate(GOLDEN[:50])))
    assert short(telco_model, body) == long(telco_model, body)


@pytest.mark.parametrize("explain", [True, False, 1, 1000])
def test_that_reasons_are_asked_for_is_read_the_short_way_too(telco_model: Model, explain: Any):
    body = json.dumps({"explain": explain, "records": GOLDEN[:2]}).encode()
    assert short(telco_model, body) == long(telco_model, body)


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", " NA ", "Yes", "No", "Two year", "a: b", 1e39, -1e300, 10**400, []])
)
changes = st.dictionaries(
    st.sampled_from(["tenure", "TotalCharges", "Contract", "gender", "customerID", "Churn", "Tenure"]), values
)


@settings(deadline=None)
@given(first=changes, second=changes)
def test_what_the_short_way_takes_the_long_way_takes_to_the_same_bytes(
    telco_model: Model, first: dict[str, Any], second: dict[str, Any]
):
    body = body_of(GOLDEN[0] | first, GOLDEN[1] | second)
    rows = short(telco_model, body)
    if rows is not None:
        assert rows == long(telco_model, body)


@settings(deadline=None)
@given(change=changes)
def test_what_the_long_way_refuses_the_short_way_does_not_take(telco_model: Model, change: dict[str, Any]):
    body = body_of(GOLDEN[0] | change)
    try:
        long(telco_model, body)
    except (InvalidRecordsError, RequestError):
        assert short(telco_model, body) is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body_of(), id="no records"),
        pytest.param(body_of(*[GOLDEN[0]] * 101), id="too many"),
        pytest.param(body_of(GOLDEN[0]).replace(b'"tenure"', b'"tenure": 1, "tenure"'), id="a key twice"),
        pytest.param(b'{"records": [], ' + body_of(GOLDEN[0])[1:], id="the list twice"),
        pytest.param(body_of(GOLDEN[0]) + b"x", id="trailing bytes"),
        pytest.param(body_of(GOLDEN[0])[:-1] + b', "explain": 0}', id="no such number of reasons"),
        pytest.param(body_of(GOLDEN[0])[:-1] + b', "explain": true, "explain": 2}', id="reasons twice"),
    ],
)
def test_what_only_the_long_way_can_judge_is_left_to_it(telco_model: Model, body: bytes):
    assert short(telco_model, body) is None


def test_other_columns_go_the_short_way_too(shop: Path):
    model = load_model(shop)
    record = {
        "account": 7,
        "age": None,
        "balance": 50_000_001,
        "plan": "NA",
        "newsletter": True,
        "visits": 3,
        "region": "東京",
        "joined": "2024-01-01",
    }
    body = body_of(record, record | {"account": None, "age": 40, "newsletter": False, "region": "Atlantis"})
    assert short(model, body) == long(model, body)


def test_a_column_that_no_struct_can_carry_goes_the_long_way(telco_model: Model):
    first, *rest = telco_model.manifest.features
    features = [msgspec.structs.replace(first, name='a "quoted" name'), *rest]
    manifest = msgspec.structs.replace(telco_model.manifest, features=features)
    record = {'a "quoted" name': "Male", **{f.name: GOLDEN[0][f.name] for f in rest}}
    assert RowDecoder(manifest, "records", max_text=8192).decode(body_of(record), max_records=1) is None
