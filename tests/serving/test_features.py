"""One validator and encoder: what is accepted, what is refused, and how it becomes numbers."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_serving.bundle.schema import Boolean, Categorical, Manifest, Metrics, Numeric
from churn_serving.features import (
    Encoder,
    InvalidRecordsError,
    encode_column,
    is_missing,
    parse_cell,
    parse_number,
    to_matrix,
)

AGE = Numeric(name="age", nullable=True, minimum=18, maximum=80, centre=40, scale=10, typical=39)
BALANCE = Numeric(
    name="balance", nullable=False, minimum=0, maximum=1e8, centre=50_000_000, scale=1_000, typical=50_000_000
)
ACTIVE = Boolean(name="active", nullable=True, typical=True)
PLAN = Categorical(name="plan", nullable=True, categories=["basic", "plus"], typical="plus")
REGION = Categorical(name="region", nullable=False, categories=["n", "s"], typical="n")

MANIFEST = Manifest(
    format_version=1,
    name="m",
    version="1",
    algorithm="logistic",
    features=[AGE, BALANCE, ACTIVE, PLAN, REGION],
    target="left",
    ignored=["joined"],
    classes=("no", "yes"),
    positive="yes",
    threshold=0.5,
    seed=0,
    metrics=Metrics(80, 20, 0.2, 0.8, 0.5, 0.1, 2.0),
    libraries={},
    data_digest="sha256:0",
    id="account",
)
ENCODER = Encoder(MANIFEST)
RECORD = {"age": 50, "balance": 50_001_000.0, "active": True, "plan": "plus", "region": "s"}


def row(**changes: object) -> list[float]:
    return ENCODER.encode([RECORD | changes]).rows[0]


def fault(**changes: object) -> tuple[str, str]:
    with pytest.raises(InvalidRecordsError) as refused:
        ENCODER.encode([RECORD | changes])
    (only,) = refused.value.faults
    return only.column, only.problem


def test_a_record_becomes_scaled_numbers_and_codes():
    assert row() == [1.0, 1.0, 1.0, 1.0, 1.0]


def test_the_order_of_columns_does_not_matter():
    assert ENCODER.encode([dict(reversed(RECORD.items()))]).rows[0] == row()


def test_a_text_never_seen_is_minus_one():
    assert row(plan="gold")[3] == -1.0


@pytest.mark.parametrize("missing", [None, "", "  ", "NA", "n/a", "null"])
def test_a_missing_category_has_the_code_after_the_last(missing: object):
    assert row(plan=missing)[3] == 2.0


@pytest.mark.parametrize("column", ["age", "active"])
def test_a_missing_number_or_boolean_is_nan(column: str):
    assert math.isnan(row(**{column: None})[0 if column == "age" else 2])


def test_large_numbers_keep_their_spread():
    """One apart at fifty million: float32 alone would merge them."""
    near, far = (to_matrix([row(balance=50_000_000 + cents)], 5)[0, 1] for cents in (1, 2))
    assert far - near == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("age", "50"),
        ("age", True),
        ("age", math.nan),
        ("age", math.inf),
        ("age", 1e308 * 10),
        ("balance", 1e300),
        ("balance", None),
        ("age", 10**4000),
        ("age", [50]),
        ("active", 1),
        ("active", "true"),
        ("active", 0.0),
        ("plan", 1),
        ("plan", True),
        ("plan", {}),
        ("region", None),
        ("region", ""),
        ("account", 1.5),
        ("account", "x" * 257),
        ("account", 1 << 63),
        ("account", []),
    ],
)
def test_a_wrong_value_is_refused_by_its_columns_name(column: str, value: object):
    assert fault(**{column: value}) == (column, "invalid")


@pytest.mark.parametrize("value", [0, -0.0, 1e30, -5, 1 << 63])
def test_a_number_outside_the_training_range_is_accepted(value: float):
    assert math.isfinite(row(age=value)[0])


def test_a_missing_and_an_extra_column_are_both_named():
    record = {name: value for name, value in RECORD.items() if name != "age"} | {"Age": 3}
    with pytest.raises(InvalidRecordsError) as refused:
        ENCODER.encode([record])
    assert [(f.column, f.problem) for f in refused.value.faults] == [
        ("age", "missing"),
        ("Age", "unexpected"),
    ]


def test_the_id_the_target_and_dropped_columns_are_accepted():
    accepted = {"account": 7, "joined": {"any": "thing"}, "left": "yes"}
    assert ENCODER.encode([RECORD | accepted]).ids == [7]


def test_at_most_twenty_faults_are_told():
    with pytest.raises(InvalidRecordsError) as refused:
        ENCODER.encode([{}] * 1000)
    assert len(refused.value.faults) == 20


def test_faults_hold_no_value_of_the_customer():
    with pytest.raises(InvalidRecordsError) as refused:
        ENCODER.encode([RECORD | {"age": "SECRET", "plan": ["SECRET"], "account": ["SECRET"]}])
    assert "SECRET" not in str(refused.value.faults)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from([*RECORD, "account", "joined", "left", "other"])


@given(st.lists(st.dictionaries(names, json_values) | json_values, min_size=1, max_size=4))
def test_any_json_is_encoded_or_refused_with_named_faults(records: list[object]):
    faults, rows = [], []
    try:
        rows = ENCODER.encode(records).rows
    except InvalidRecordsError as error:
        faults = error.faults
    assert bool(faults) != bool(rows)
    assert all(fault.message for fault in faults)
    assert not np.isinf(to_matrix(rows, 5)).any()


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_written_to_csv_is_read_as_the_same_number(value: float):
    text = repr(value)
    try:
        expected = float(value)
    except OverflowError:
        expected = math.inf
    assert parse_number(text) == (expected if math.isfinite(expected) else None)


@pytest.mark.parametrize("text", ["1_000", "1,000", "0x10", "nan", "inf", "1e400", "١٢", "--1", "1e", "."])
def test_what_is_no_plain_number_stays_text(text: str):
    assert parse_number(text) is None


@given(st.lists(st.sampled_from(["basic", " plus ", "", "NA", "gold"]), min_size=1))
def test_a_csv_column_is_encoded_as_the_same_records_are(cells: list[str]):
    by_column = encode_column(PLAN, cells)
    by_record = [row(plan=parse_cell(PLAN, cell))[3] for cell in cells]
    assert by_column.tolist() == by_record


def test_none_is_an_answer_and_not_a_missing_value():
    assert not is_missing("None")


def test_the_manifest_survives_its_own_json():
    import msgspec

    content = msgspec.json.encode(MANIFEST)
    assert msgspec.json.decode(content, type=Manifest) == MANIFEST
    assert json.loads(content)["features"][3]["kind"] == "categorical"
