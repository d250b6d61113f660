"""The Open Inference Protocol over HTTP, in process; each hostile tensor has its 400."""

import gzip
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_serving.model import Model, load_model
from churn_serving.routing import ServingFile, build_single_table, build_table
from churn_serving.server.app import TrafficApp
from churn_serving.server.http import RequestError
from churn_serving.server.inflate import inflate
from churn_serving.server.metrics import Metrics
from churn_serving.server.oip.datatypes import unpack_texts
from churn_serving.server.state import Serving
from churn_serving.settings import Settings

from .asgi import Answer, call

_NAMES = ("age", "balance", "plan", "newsletter", "visits", "region")
RECORDS: list[dict[str, Any]] = [
    dict(zip(_NAMES, values, strict=True))
    for values in (
        (41.5, 50_000_900.0, "pro, yearly", True, 3, "東京"),
        (None, 49_999_100.25, "basic", False, 29, "Zürich"),
        (19, 5e7, None, True, 0, "never seen"),
    )
]
DATATYPES = {
    "age": "FP64",
    "balance": "FP64",
    "plan": "BYTES",
    "newsletter": "BOOL",
    "visits": "INT32",
    "region": "BYTES",
}
DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT32": "<i4", "INT64": "<i8", "BOOL": "?"}
INFER = "/v2/models/shop/infer"


@pytest.fixture(scope="session")
def model(shop: Path) -> Model:
    return load_model(shop)


@pytest.fixture
def serving(model: Model) -> Serving:
    settings = Settings(model=Path("unused"), max_records=50, max_body_bytes=100_000)
    return Serving(settings=settings, table=build_single_table(None, model), metrics=Metrics())


@pytest.fixture
def app(serving: Serving) -> TrafficApp:
    return TrafficApp(serving)


def column(name: str, /, **changes: Any) -> dict[str, Any]:
    data = [record[name] for record in RECORDS]
    return {"name": name, "datatype": DATATYPES[name], "shape": [3], "data": data} | changes


def columns() -> list[dict[str, Any]]:
    return [column(name) for name in DATATYPES]


def pack(values: list[Any], datatype: str) -> bytes:
    if datatype == "BYTES":
        texts = ["" if value is None else str(value) for value in values]
        return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
    return np.array(values, dtype=DTYPES[datatype]).tobytes()


def packed(request: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """A request whose tensors' data lies behind the JSON, and its headers."""
    parts, inputs = [], []
    for tensor in request["inputs"]:
        parts.append(pack(tensor["data"], tensor["datatype"]))
        inputs.append(
            {key: value for key, value in tensor.items() if key != "data"}
            | {"parameters": {"binary_data_size": len(parts[-1])}}
        )
    head = json.dumps(request | {"inputs": inputs}).encode()
    return b"".join([head, *parts]), {"inference-header-content-length": str(len(head))}


async def infer(app: TrafficApp, inputs: Any, path: str = INFER, **request: Any) -> Answer:
    return await call(app, path, json.dumps({"inputs": inputs, **request}).encode())


def data_of(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return {output["name"]: output["data"] for output in answer.json["outputs"]}


@pytest.fixture
async def expected(app: TrafficApp) -> dict[str, Any]:
    """What /predict says of the same customers."""
    answer = await call(app, "/predict", json.dumps({"records": RECORDS}).encode())
    told = answer.json["predictions"]
    return {
        "probability": [one["probability"] for one in told],
        "label": ["1" if one["churn"] else "0" for one in told],
        "decision": [one["churn"] for one in told],
    }


async def test_a_tensor_per_column_gets_what_records_get(app: TrafficApp, expected: dict[str, Any]):
    answer = await infer(app, columns(), id="a-1")
    assert data_of(answer) == expected
    told = answer.json
    assert (told["model_name"], told["model_version"], told["id"]) == ("shop", "3", "a-1")
    assert [output["shape"] for output in told["outputs"]] == [[3]] * 3
    assert [output["datatype"] for output in told["outputs"]] == ["FP64", "BYTES", "BOOL"]
    assert told["parameters"]["threshold"] == pytest.approx(0.5, abs=0.5)


async def test_columns_may_be_tall_and_in_any_order(app: TrafficApp, expected: dict[str, Any]):
    tall = [
        {**tensor, "shape": [3, 1], "data": [[value] for value in tensor["data"]]} for tensor in columns()
    ]
    assert data_of(await infer(app, tall[::-1])) == expected


async def test_texts_are_read_as_a_csv_file_is(app: TrafficApp, expected: dict[str, Any]):
    """A null, an empty text and NA are missing; true and 3 may be texts."""
    texts = [
        column(name, datatype="BYTES", data=[None if value is None else str(value) for value in data])
        for name, data in ((tensor["name"], tensor["data"]) for tensor in columns())
    ]
    assert data_of(await infer(app, texts)) == expected


async def test_one_matrix_of_texts_holds_the_models_columns_in_their_order(
    app: TrafficApp, model: Model, expected: dict[str, Any]
):
    names = [feature.name for feature in model.manifest.features]
    rows = [["NA" if record[name] is None else str(record[name]) for name in names] for record in RECORDS]
    matrix = {"name": "x", "datatype": "BYTES", "shape": [3, 6], "data": rows}
    assert data_of(await infer(app, [matrix])) == expected


async def test_one_matrix_of_numbers_has_positions_for_categories(
    app: TrafficApp, model: Model, expected: dict[str, Any]
):
    features = {feature.name: feature for feature in model.manifest.features}
    rows = [
        [
            None if record[name] is None
            else record[name] if not hasattr(feature, "categories")
            else feature.categories.index(record[name]) if record[name] in feature.categories
            else -1
            for name, feature in features.items()
        ]
        for record in RECORDS
    ]  # fmt: skip
    cells = [float("nan") if cell is None else float(cell) for row in rows for cell in row]
    body, headers = packed(
        {"inputs": [{"name": "input-0", "datatype": "FP64", "shape": [3, 6], "data": cells}]}
    )
    assert data_of(await call(app, INFER, body, headers=headers)) == expected
    flat = {
        "name": "input-0",
        "datatype": "FP64",
        "shape": [3, 6],
        "data": [None if cell is None else float(cell) for row in rows for cell in row],
    }
    assert data_of(await infer(app, [flat])) == expected


async def test_tensors_may_lie_behind_the_json(app: TrafficApp, expected: dict[str, Any]):
    tensors = [column(tensor["name"], data=[float("nan") if v is None and tensor["datatype"] != "BYTES" else v
               for v in tensor["data"]]) for tensor in columns()]  # fmt: skip
    body, headers = packed({"inputs": tensors, "parameters": {"binary_data_output": True}})
    answer = await call(app, INFER, body, headers=headers)
    end = int(answer.headers["inference-header-content-length"])
    told, rest = json.loads(answer.body[:end]), answer.body[end:]
    sizes = [output["parameters"]["binary_data_size"] for output in told["outputs"]]
    assert answer.headers["content-type"] == "application/octet-stream"
    assert sum(sizes) == len(rest)
    assert np.frombuffer(rest[: sizes[0]]).tolist() == expected["probability"]
    assert rest[sizes[0] : -sizes[2]] == pack(expected["label"], "BYTES")
    assert rest[-sizes[2] :] == bytes(expected["decision"])


async def test_each_output_is_told_in_the_form_it_is_asked_in(app: TrafficApp, expected: dict[str, Any]):
    outputs = [{"name": "decision"}, {"name": "probability", "parameters": {"binary_data": True}}]
    answer = await infer(app, columns(), outputs=outputs)
    end = int(answer.headers["inference-header-content-length"])
    decision, probability = json.loads(answer.body[:end])["outputs"]
    assert decision["data"] == expected["decision"]
    assert "data" not in probability
    assert np.frombuffer(answer.body[end:]).tolist() == expected["probability"]


@pytest.mark.parametrize("asked", [{"parameters": {"explain": 2}}, {"outputs": [{"name": "reasons"}]}])
async def test_reasons_are_those_of_predict(app: TrafficApp, asked: dict[str, Any]):
    body = json.dumps({"records": RECORDS, "explain": 2 if "parameters" in asked else True}).encode()
    told = (await call(app, "/predict", body)).json["predictions"]
    found = [json.loads(each) for each in data_of(await infer(app, columns(), **asked))["reasons"]]
    assert [one["rest"] for one in found] == [one["rest"] for one in told]
    assert [one["reasons"] for one in found] == [one["reasons"] for one in told]


async def test_the_id_and_what_training_ignored_may_come_along(app: TrafficApp, expected: dict[str, Any]):
    others = [
        {"name": "account", "datatype": "INT64", "shape": [3], "data": [1, 2, 3]},
        {"name": "joined", "datatype": "BYTES", "shape": [3], "data": ["a", "b", None]},
    ]
    assert data_of(await infer(app, columns() + others)) == expected


async def test_what_is_scored_is_counted(app: TrafficApp, serving: Serving):
    await infer(app, columns())
    (_, counts) = serving.metrics.models[None]
    assert counts.churn + counts.stay == 3
    serving.metrics.fold()
    assert serving.metrics.requests["/v2/models/{model}/infer", "POST", 200] == 1


async def test_large_inputs_get_what_small_ones_get(model: Model, expected: dict[str, Any]):
    settings = Settings(model=Path("unused"), inline_bytes=1)
    app = TrafficApp(Serving(settings=settings, table=build_single_table(None, model), metrics=Metrics()))
    assert data_of(await infer(app, columns())) == expected


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "age", "shape": [2]}, "input 'age': 3 values where the shape has 2"),
        ({"name": "age", "shape": [3, 0]}, "expected the shape"),
        ({"name": "age", "shape": [3, 1, 1]}, "expected the shape"),
        ({"name": "age", "shape": []}, "expected the shape"),
        ({"name": "age", "shape": [-3]}, "expected the shape"),
        ({"name": "age", "shape": [1], "data": [1]}, "'balance': 3 rows where 'age' has 1"),
        ({"name": "age", "datatype": "FP7"}, "unknown datatype; known are BOOL"),
        ({"name": "age", "datatype": "BOOL", "data": [True, True, True]}, "holds numbers, not BOOL"),
        ({"name": "age", "data": [1, "2", 3]}, "a value that is no FP64"),
        ({"name": "age", "data": [1, True, 3]}, "a value that is no FP64"),
        ({"name": "age", "data": [[1, 2], [3]]}, "lists that its shape does not have"),
        ({"name": "age", "data": None}, "neither data nor"),
        ({"name": "age", "datatype": "BYTES", "data": ["1", "x", "2"]}, "record 1, 'age': expected a finite"),
        ({"name": "visits", "data": [1, None, 2]}, "record 1, 'visits': must not be empty"),
        ({"name": "visits", "data": [1, 10**30, 2]}, "a value that is no INT32"),
        ({"name": "visits", "datatype": "INT8", "data": [1, 300, 2]}, "a value that is no INT8"),
        ({"name": "visits", "datatype": "FP64", "data": [1, 1e308, 2]}, "record 1, 'visits': expected"),
        ({"name": "newsletter", "datatype": "INT8", "data": [0, 1, 2]}, "record 2, 'newsletter': expected"),
        ({"name": "region", "datatype": "INT8", "data": [0, 1, 9]}, "position among the 3 categories"),
        ({"name": "region", "datatype": "FP32", "data": [0, 0.5, 1]}, "record 1, 'region'"),
        ({"name": "region", "datatype": "BOOL", "data": [True, True, True]}, "not BOOL"),
        ({"name": "region", "data": ["a", 1, "b"]}, "a value that is no BYTES"),
        ({"name": "region", "parameters": {"binary_data_size": 9}}, "binary_data_size does not fit"),
    ],
)  # fmt: skip
async def test_a_wrong_tensor_is_a_400_that_names_it(app: TrafficApp, changes: dict[str, Any], says: str):
    answer = await infer(app, [tensor | changes if tensor["name"] == changes["name"] else tensor
                               for tensor in columns()])  # fmt: skip
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert says in answer.error


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"inputs": []}, "at least one tensor"),
        ({"inputs": columns()[1:]}, "inputs are missing: 'age'"),
        ({"inputs": [*columns(), column("age", name="agee")]}, "no such columns: 'agee'"),
        ({"inputs": [*columns(), column("age")]}, "'age': is given twice"),
        ({"inputs": [column("age", shape=[1, 3], name="x")]}, "a matrix must be the only input"),
        ({"inputs": {}}, "no inference request"),
        ({}, "no inference request"),
        ([], "no inference request"),
        ({"inputs": columns(), "outputs": [{"name": "score"}]}, "there is no output 'score'"),
        ({"inputs": columns(), "parameters": {"explain": 0.5}}, "explain must be"),
    ],
)
async def test_a_wrong_request_is_a_400_that_says_so(app: TrafficApp, request_: Any, says: str):
    answer = await call(app, INFER, json.dumps(request_).encode())
    assert answer.status == 400
    assert says in answer.error


async def test_more_customers_than_allowed_are_a_413(app: TrafficApp):
    wide = [column(tensor["name"], shape=[51], data=(tensor["data"] * 17)) for tensor in columns()]
    answer = await infer(app, wide)
    assert (answer.status, answer.error) == (413, "51 records in one request; at most 50 are allowed")


@pytest.mark.parametrize("length", ["-1", "1e3", "99999", "99999999999999999999", "x", "7"])
async def test_a_lying_length_of_the_json_is_a_400(app: TrafficApp, length: str):
    body, _ = packed({"inputs": [column("visits")]})
    answer = await call(app, INFER, body, headers={"inference-header-content-length": length})
    assert answer.status == 400


@pytest.mark.parametrize("size", [-1, 11, 13, "12", None, True])
async def test_a_lying_size_of_a_tensor_is_a_400(app: TrafficApp, size: Any):
    request = {"inputs": [column("visits", data=None, parameters={"binary_data_size": size})]}
    head = json.dumps(request).encode()
    headers = {"inference-header-content-length": str(len(head))}
    assert (await call(app, INFER, head + b"\x01\0\0\0" * 3, headers=headers)).status == 400


@pytest.mark.parametrize("content", [b"\xff\xff\xff\xff", b"\x01\0\0", b"\x02\0\0\0a", b"\x01\0\0\0\xff" * 3])
async def test_broken_texts_behind_the_json_are_a_400(app: TrafficApp, content: bytes):
    parameters = {"binary_data_size": len(content)}
    head = json.dumps({"inputs": [column("region", data=None, parameters=parameters)]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    answer = await call(app, INFER, head + content, headers=headers)
    assert "no packed BYTES values" in answer.error


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"inputs": NaN}', b"[" * 100_000, b'{"inputs": [], "inputs": []}']
)
async def test_what_is_no_json_is_a_400(app: TrafficApp, body: bytes):
    assert (await call(app, INFER, body)).status == 400


async def test_a_key_that_stands_twice_is_refused_also_beside_texts_with_colons(app: TrafficApp):
    body = json.dumps({"inputs": [column("region", data=["a:b", "c", "d"]), *columns()[:5]]})
    assert (await call(app, INFER, body.encode())).status == 200
    twice = body.replace('"shape": [3]', '"shape": [3], "shape": [3]', 1)
    assert (await call(app, INFER, twice.encode())).error == "an object names the same key twice"


@pytest.mark.parametrize("form", ["text/plain", "multipart/form-data", "application/json2"])
async def test_another_content_type_is_a_415(app: TrafficApp, form: str):
    assert (await call(app, INFER, b"{}", headers={"content-type": form})).status == 415


async def test_metadata_lists_this_models_columns(app: TrafficApp):
    told = (await call(app, "/v2/models/shop", method="GET")).json
    assert (told["name"], told["versions"], told["platform"]) == ("shop", ["3"], "onnx_onnxruntime")
    assert told["inputs"] == [
        {"name": name, "datatype": "FP64" if kind == "INT32" else kind, "shape": [-1]}
        for name, kind in DATATYPES.items()
    ]
    assert [output["name"] for output in told["outputs"]] == ["probability", "label", "decision"]


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
async def test_the_server_tells_its_name_and_extensions(app: TrafficApp, path: str):
    told = (await call(app, path, method="GET")).json
    assert (told["name"], told["extensions"]) == ("churn-serving", ["binary_tensor_data"])
    assert told["version"]


READY = ["/v2/health/ready", "/v2/models/shop/ready", "/v2/models/shop/versions/3/ready"]


@pytest.mark.parametrize("path", READY)
async def test_ready_until_the_drain_begins(app: TrafficApp, serving: Serving, path: str):
    assert (await call(app, path, method="GET")).json["ready"] is True
    serving.draining = True
    leaving = await call(app, path, method="GET")
    assert (leaving.status, leaving.error) == (400, "this server is shutting down")
    assert (await call(app, "/v2/health/live", method="GET")).json == {"live": True}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/models/shop/versions/4", 404),
        ("POST", "/v2/models/shop/versions/4/infer", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/", 404),
        ("GET", "/v2//models/shop", 404),
        ("GET", "/v2/models/shop/versions//ready", 404),
        ("GET", INFER, 405),
        ("POST", "/v2/models/shop", 405),
        ("DELETE", "/v2/health/live", 405),
    ],
)
async def test_what_is_not_there_is_told_in_the_protocols_shape(
    app: TrafficApp, method: str, path: str, status: int
):
    answer = await call(app, path, b"{}", method=method)
    assert answer.status == status
    assert isinstance(answer.error, str)


@pytest.fixture
def versions(model: Model, telco_model: Model) -> TrafficApp:
    """Two revisions of the shop's bundle, each with its own threshold."""
    entries = {"old": {"decision": {"threshold": 0.999}}, "new": {"decision": {"threshold": 0.001}}}
    file = msgspec.convert({"model": "shop", "revisions": entries}, ServingFile)
    table = build_table(None, file, {"old": model, "new": model})
    return TrafficApp(Serving(settings=Settings(model=Path("unused")), table=table, metrics=Metrics()))


async def test_a_version_is_a_revision_or_a_bundles_own(versions: TrafficApp):
    for revision, churns in (("old", False), ("new", True)):
        answer = await infer(versions, columns(), f"/v2/models/shop/versions/{revision}/infer")
        assert answer.json["model_version"] == revision
        assert data_of(answer)["decision"] == [churns] * 3
    either = await infer(versions, columns(), "/v2/models/shop/versions/3/infer")
    assert either.json["model_version"] in {"old", "new"}
    assert (await call(versions, "/v2/models/shop", method="GET")).json["versions"] == ["new", "old"]
    told = await call(versions, "/v2/models/shop/versions/old", method="GET")
    assert told.json["versions"] == ["old"]


async def test_the_id_column_chooses_the_revision_that_predict_chooses(versions: TrafficApp):
    for account in range(20):
        ids = {"name": "account", "datatype": "INT64", "shape": [3], "data": [account] * 3}
        tensors = await infer(versions, [*columns(), ids])
        records = json.dumps({"records": [{**RECORDS[0], "account": account}]}).encode()
        assert tensors.json["model_version"] == (await call(versions, "/predict", records)).json["revision"]


async def test_the_example_of_the_documentation_is_answered(app: TrafficApp):
    api = (await call(app, "/openapi.json", method="GET")).json
    content = api["paths"][INFER]["post"]["requestBody"]["content"]["application/json"]
    assert content["examples"] == {"typical": {"$ref": "#/components/examples/V2Request"}}
    example = api["components"]["examples"]["V2Request"]["value"]
    for path in (INFER, "/v2/models/shop/versions/3/infer"):
        assert len(data_of(await call(app, path, json.dumps(example).encode()))["probability"]) == 1


async def test_the_documentation_lists_the_protocols_paths(app: TrafficApp):
    api = (await call(app, "/openapi.json", method="GET")).json
    paths = {path: item for path, item in api["paths"].items() if path.startswith("/v2")}
    assert len(paths) == 9
    for path, item in paths.items():
        if "get" in item:
            assert (await call(app, path.replace("{version}", "3"), method="GET")).status == 200


PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
ROUTES = {
    "/predict": {"records": RECORDS},
    "/v1/models/shop:predict": {"instances": RECORDS},
    "/v1/models/shop:explain": {"instances": RECORDS},
    INFER: {"inputs": columns()},
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("encoding", PACK)
async def test_every_scoring_route_takes_compressed_bodies(app: TrafficApp, path: str, encoding: str):
    body = json.dumps(ROUTES[path]).encode()
    headers = {"content-type": "application/json", "content-encoding": encoding}
    assert (await call(app, path, PACK[encoding](body), headers=headers)).status == 200
    for broken in (b"", body, PACK[encoding](body)[:-3], PACK[encoding](body) + b"x"):
        assert (await call(app, path, broken, headers=headers)).status == 400
    bomb = await call(app, path, PACK[encoding](bytes(100_001)), headers=headers)
    assert bomb.status == 413
    assert "unpacks to more than 100000 bytes" in bomb.body.decode()


async def test_an_unknown_encoding_is_a_415_that_names_the_known(app: TrafficApp):
    headers = {"content-type": "application/json", "content-encoding": "br"}
    answer = await call(app, "/predict", b"{}", headers=headers)
    assert (answer.status, answer.headers["accept-encoding"]) == (415, "gzip, deflate, zstd")


def test_a_window_beyond_eight_mebibytes_is_refused_before_it_is_allocated():
    """RFC 9659: a frame of few bytes may ask for gigabytes."""
    options = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    frame = compressor.compress(b"{}") + compressor.flush()
    with pytest.raises(RequestError) as refused:
        inflate(frame, b"zstd", max_bytes=1000)
    assert refused.value.status == 400


def one_by_one(content: bytes) -> list[str] | None:
    """The texts as the protocol's document reads them; None where it could not."""
    texts = []
    while content:
        length = int.from_bytes(content[:4], "little")
        if len(content) < 4 + length:
            return None
        try:
            texts.append(content[4 : 4 + length].decode())
        except UnicodeDecodeError:
            return None
        content = content[4 + length :]
    return texts


def framed(text: str) -> bytes:
    return len(text.encode()).to_bytes(4, "little") + text.encode()


FEW = st.lists(st.text(max_size=9), min_size=1, max_size=20, unique=True)
NESTED = st.just(["a", framed("a").decode(), framed("a").decode() * 2, "", "\0"])


@settings(deadline=None)
@given(texts=FEW | NESTED, data=st.data())
def test_texts_behind_the_json_are_read_alike_whether_few_or_many(texts: list[str], data: st.DataObject):
    cells = data.draw(st.lists(st.sampled_from(texts), min_size=60, max_size=80))
    read = unpack_texts(b"".join(map(framed, cells)), len(cells))
    assert [read[at] for at in range(len(read))] == cells


@settings(deadline=None)
@given(content=st.lists(st.sampled_from([framed("Yes"), framed("No"), b"\0", b"\xff", b"No"]), min_size=90))
def test_bytes_that_are_no_texts_are_never_taken_for_some(content: list[bytes]):
    joined = b"".join(content)
    expected = one_by_one(joined)
    if expected is None:
        with pytest.raises(ValueError, match=r"cut short|decode"):
            unpack_texts(joined, len(joined))
    else:
        read = unpack_texts(joined, len(joined))
        assert [read[at] for at in range(len(read))] == expected
