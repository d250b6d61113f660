"""Whatever the decoders are given, they give rows or a typed error: no other exception leaves them."""

import gzip
import json
import zlib
from contextlib import suppress
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_serving.features import InvalidRecordsError
from churn_serving.model import Model
from churn_serving.routing import build_single_table
from churn_serving.server.bounds import check_nesting, check_texts, check_values
from churn_serving.server.http import RequestError
from churn_serving.server.inflate import encoding_of, inflate
from churn_serving.server.metrics import Metrics
from churn_serving.server.oip import http as oip
from churn_serving.server.oip.infer import read
from churn_serving.server.records import decode_records
from churn_serving.server.routes import Body
from churn_serving.server.rows import RowDecoder
from churn_serving.server.state import Serving
from churn_serving.settings import Settings

from .hostile.material import BODY, RECORD

COLUMNS = [
    {"name": name, "datatype": "BYTES", "shape": [1], "data": [str(RECORD[name])]}
    for name in RECORD
    if name != "customerID"
]
INFER = json.dumps({"inputs": COLUMNS}).encode()
MATRIX = json.dumps(
    {"inputs": [{"name": "m", "datatype": "FP32", "shape": [2, 19], "parameters": {"binary_data_size": 152}}]}
).encode()
SCRAPS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud800", b"null", b"true", b"1e400",
    b"-0", b"NaN", b"9" * 5000, b"[" * 2000, b'{"a":' * 600, b'"tenure":1,', b'"explain":7,', b"\xff",
    b"\0", b"2",
    b'"shape":[-1],', b'"datatype":"FP16",', b'"parameters":{"binary_data_size":9},', b'"data":[null],',
    b'"id":"a:b",',
]  # fmt: skip


@st.composite
def broken(draw: st.DrawFn, good: bytes) -> bytes:
    """The good bytes with scraps in some places, and pieces left out."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(good)))
        end = start + draw(st.sampled_from([0, 0, 1, 2, 20, 200]))
        good = good[:start] + draw(st.sampled_from(SCRAPS) | st.binary(max_size=9)) + good[end:]
    return good


@pytest.fixture(scope="module")
def serving(telco_model: Model) -> Serving:
    table = build_single_table(None, telco_model)
    return Serving(settings=Settings(model=None, max_values=5000), table=table, metrics=Metrics())


@settings(deadline=None, max_examples=300)
@given(body=broken(BODY) | st.binary(max_size=200))
def test_records(telco_model: Model, body: bytes):
    short = RowDecoder(telco_model.manifest, "records", max_text=8192).decode(body, max_records=9)
    try:
        check_values(body, 100_000)
        records, _ = decode_records(body, "records", max_records=9)
        check_nesting(records, 31)
        check_texts(records, 8192)
        telco_model.encoder.encode(records)
    except (RequestError, InvalidRecordsError):
        assert short is None


@settings(deadline=None, max_examples=300)
@given(body=broken(INFER) | st.binary(max_size=200))
def test_tensors_in_json(serving: Serving, body: bytes):
    infer(serving, Body(body, []))


@settings(deadline=None, max_examples=300)
@given(
    head=broken(MATRIX) | st.just(MATRIX),
    data=st.binary(max_size=160) | st.just(bytes(152)),
    at=st.integers(-2, 2),
)
def test_tensors_behind_json(serving: Serving, head: bytes, data: bytes, at: int):
    length = b"%d" % max(0, len(head) + at)
    infer(serving, Body(head + data, [(b"inference-header-content-length", length)]))


def infer(serving: Serving, body: Body) -> None:
    with suppress(RequestError):
        _, tensors, _ = oip._read_request(body, serving.settings)
        assert len(read(serving, serving.table, tensors).matrix) >= 1


PACKED = {
    b"gzip": gzip.compress(BODY, mtime=0),
    b"deflate": zlib.compress(BODY),
    b"zstd": zstd.compress(BODY),
}


@settings(deadline=None, max_examples=300)
@given(encoding=st.sampled_from(sorted(PACKED)), data=st.data())
def test_compressed_bodies(encoding: bytes, data: st.DataObject):
    body = data.draw(broken(PACKED[encoding]) | st.binary(max_size=99))
    with suppress(RequestError):
        assert len(inflate(body, encoding, max_bytes=10_000)) <= 10_000


@given(
    values=st.lists(
        st.binary(max_size=12) | st.sampled_from([b"gzip", b"GZIP ", b"identity", b""]), max_size=3
    )
)
def test_the_name_of_a_compression(values: list[bytes]):
    headers: list[Any] = [(b"content-encoding", value) for value in values]
    with suppress(RequestError):
        assert encoding_of(headers) in {b"", b"gzip", b"x-gzip", b"deflate", b"zstd"}
