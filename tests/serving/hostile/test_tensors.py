"""Tensors that lie, in JSON and as bytes behind it: a 4xx that names what is wrong."""

import gzip
import json
from typing import Any

import pytest
from tests.serving.wire import Heard, ask, request

from .material import RECORD, V2, is_refused

COLUMNS = [name for name in RECORD if name != "customerID"]
COLUMN = {"name": "tenure", "datatype": "INT64", "shape": [1], "data": [1]}


def inputs(**changes: Any) -> list[dict[str, Any]]:
    """A tensor for each column; `changes` are those of `tenure`."""
    texts = [{"name": n, "datatype": "BYTES", "shape": [1], "data": [str(RECORD[n])]} for n in COLUMNS]
    return [COLUMN | changes if each["name"] == "tenure" else each for each in texts]


def infer(port: int, body: Any, **headers: Any) -> Heard:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(port, request(content, path=V2, **headers))


def packed(port: int, body: Any, content: bytes, **headers: Any) -> Heard:
    """The JSON, and the bytes behind it."""
    told = json.dumps(body).encode()
    return infer(port, told + content, **{"Inference_Header_Content_Length": len(told), **headers})


def test_tensors_that_tell_the_truth_are_scored(port: int):
    assert infer(port, {"inputs": inputs()}).status == 200
    sized = inputs(data=None, parameters={"binary_data_size": 8})
    assert packed(port, {"inputs": sized}, b"\1" + bytes(7)).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [2]}, {"shape": [0]}, {"shape": []}, {"shape": [-1]}, {"shape": [1, -1]},
        {"shape": [-1, -1]},
        {"shape": [1, 1, 1]}, {"shape": [2**31, 2**33]}, {"shape": [2**63]}, {"shape": [10**30]},
        {"shape": [1e400]},
        {"shape": [1.5]}, {"shape": ["1"]}, {"shape": [None]}, {"shape": None}, {"shape": [True]},
        {"shape": 1},
        {"shape": [1] * 100_000}, {"shape": [1, 2]}, {"shape": [[1]]}, {"data": []}, {"data": [1, 2]},
        {"data": [[1]]},
        {"data": [[[1]]]}, {"data": {"0": 1}}, {"data": "1"}, {"data": ["1"]}, {"data": [True]},
        {"data": [1.5]},
        {"data": [None]}, {"data": [2**63]}, {"data": [-(2**63) - 1]}, {"data": [10**400]}, {"data": [[]]},
        {"datatype": "int64"}, {"datatype": "FP128"}, {"datatype": ""}, {"datatype": None},
        {"datatype": "BF16"},
        {"datatype": "FP64", "data": [1e308]}, {"datatype": "FP64", "data": [-3.5e38]},
        {"datatype": "FP32", "data": [3.5e38]}, {"datatype": "FP16", "data": [1e6]},
        {"datatype": "BOOL", "data": [True]},
        {"datatype": "UINT8", "data": [256]}, {"datatype": "UINT8", "data": [-1]},
        {"datatype": "BOOL", "data": [1]},
        {"datatype": "BYTES", "data": ["NaN"]}, {"datatype": "BYTES", "data": ["1e400"]},
        {"datatype": "BYTES", "data": [1]},
        {"datatype": "BYTES", "data": ["SECRET"]}, {"datatype": "BYTES", "data": ["x" * 1_000_000]},
        {"name": "SECRET"}, {"name": ""}, {"name": None}, {"name": "Contract"}, {"name": "x" * 1_000_000},
        {"parameters": {"binary_data_size": 8}}, {"parameters": []},
        {"parameters": {"binary_data_size": None}, "data": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_tensor_that_lies(port: int, changes: dict[str, Any]):
    is_refused(infer(port, {"inputs": inputs(**changes)}), 400, 413)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"inputs": []}, {"inputs": None}, {"inputs": {}}, {"inputs": [None]}, {"inputs": [[]]},
        {"inputs": "SECRET"},
        {"inputs": inputs() * 2}, {"inputs": inputs()[1:]},
        {"inputs": [*inputs(), COLUMN | {"name": "more"}]},
        {"inputs": inputs(), "outputs": [{"name": "other"}]}, {"inputs": inputs(), "outputs": [{}]},
        {"inputs": inputs(), "outputs": {}}, {"inputs": inputs(), "id": 1},
        {"inputs": inputs(), "id": "x" * 100_000},
        {"inputs": inputs(), "parameters": {"explain": 0}},
        {"inputs": inputs(), "parameters": {"explain": 2**70}},
        {"inputs": inputs(), "parameters": {"explain": None}}, {"inputs": inputs(), "parameters": []},
        {"inputs": [COLUMN | {"name": f"c{n}"} for n in range(20_000)]},
        {"inputs": [{"name": "m", "datatype": "FP32", "shape": [1, 18], "data": [0] * 18}]},
        {"inputs": [{"name": "m", "datatype": "FP32", "shape": [1, 19], "data": [1e39] * 19}]},
    ],
    ids=lambda body: str(body)[:40],
)  # fmt: skip
def test_a_request_of_wrong_tensors(port: int, body: dict[str, Any]):
    is_refused(infer(port, body), 400)


def test_an_output_that_is_asked_for_twice_is_given_once(port: int):
    asked = [{"name": "probability", "parameters": {"binary_data": n % 2 == 0}} for n in range(1000)]
    answer = infer(port, {"inputs": inputs(), "outputs": asked})
    assert [output["name"] for output in json.loads(answer.body)["outputs"]] == ["probability"]


@pytest.mark.parametrize("size", [0, 7, 9, -1, -8, 2**31, 2**63, 10**30, 8.0, "8", True, [8]])
def test_a_size_that_lies(port: int, size: Any):
    body = {"inputs": inputs(data=None, parameters={"binary_data_size": size})}
    is_refused(packed(port, body, bytes(8)), 400)


@pytest.mark.parametrize(
    ("datatype", "content"),
    [
        ("BYTES", b""), ("BYTES", b"\1\0\0"), ("BYTES", b"\xff\xff\xff\xffa"), ("BYTES", b"\2\0\0\0a"),
        ("BYTES", b"\1\0\0\0a" * 2), ("BYTES", b"\1\0\0\0\xff"), ("BYTES", b"\3\0\0\0\xed\xa0\x80"),
        ("BYTES", b"\0\0\0\x80" + b"a" * 100), ("BYTES", bytes(4)), ("BYTES", b"\3\0\0\0NaN"),
        ("BYTES", bytes(1_000_000)), ("BYTES", b"\1\0\0\0a" * 1000), ("BOOL", b"\2"), ("BOOL", b"\1"),
        ("FP64", b"\0\0\0\0\0\0\xf8\x7f"), ("FP64", b"\1\0\0\0\0\0\xf0\x7f"),
        ("FP64", b"\0\0\0\0\0\0\xf0\x7f"),
        ("FP32", b"\0\0\xc0\x7f"), ("FP32", b"\0\0\x80\xff"), ("FP16", b"\0\x7e"), ("FP16", b"\0\x7c"),
        ("INT64", bytes(7)), ("INT64", bytes(16)), ("INT64", b""), ("SECRET", bytes(8)),
    ],
)  # fmt: skip
def test_bytes_that_are_no_value_of_the_datatype(port: int, datatype: str, content: bytes):
    parameters = {"binary_data_size": len(content)}
    is_refused(
        packed(port, {"inputs": inputs(datatype=datatype, data=None, parameters=parameters)}, content), 400
    )


@pytest.mark.parametrize("behind", [b"\0", bytes(100_000)])
def test_bytes_that_belong_to_no_input(port: int, behind: bytes):
    body = {"inputs": inputs(data=None, parameters={"binary_data_size": 8})}
    is_refused(packed(port, body, bytes(8) + behind), 400)
    is_refused(packed(port, {"inputs": inputs()}, behind), 400)


@pytest.mark.parametrize(
    "length",
    [
        "",
        "-1",
        "+5",
        "5 5",
        "0x10",
        "1e3",
        "9" * 30,
        "0" * 5000 + "5",
        "5",
        "0",
        "٣".encode().decode("latin-1"),
    ],
)
def test_a_length_of_the_json_that_lies(port: int, length: str):
    body = {"inputs": inputs(data=None, parameters={"binary_data_size": 8})}
    is_refused(packed(port, body, bytes(8), Inference_Header_Content_Length=length), 400)


def test_tensors_come_compressed_once_and_whole_or_not_at_all(port: int):
    content = gzip.compress(json.dumps({"inputs": inputs()}).encode())
    assert infer(port, content, Content_Encoding="gzip").status == 200
    for wrong in (content[:-1], content + b"\0", content * 2, gzip.compress(content), b"", b"\x1f\x8b"):
        is_refused(infer(port, wrong, Content_Encoding="gzip"), 400)
    is_refused(infer(port, gzip.compress(bytes(200 << 20)), Content_Encoding="gzip"), 413)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models//infer", "/v2/models/telco/versions/infer", "/v2/models/telco/versions/9/infer",
        "/v2/infer",
        "/v2/models/telco/versions/%00/infer", "/v2/models/TELCO/infer", "/v2/models/telco/generate",
    ],
)  # fmt: skip
def test_a_model_or_version_that_is_not_there(port: int, path: str):
    body = json.dumps({"inputs": inputs()}).encode()
    is_refused(ask(port, request(body, path=path)), 404, 405)
