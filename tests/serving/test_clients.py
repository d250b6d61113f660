"""Clients that others wrote, as they come, against the real server and a model of the shop's customers."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from churn_dev.peers import environment
from churn_serving.model import load_model

from .asgi import Process, served
from .conftest import ROOT

SCRIPTS = Path(__file__).parent / "clients"
_NAMES = ("age", "balance", "plan", "newsletter", "visits", "region")
RECORDS: list[dict[str, Any]] = [
    dict(zip(_NAMES, values, strict=True))
    for values in (
        (41.5, 50_000_900.0, "basic", True, 3, "東京"),
        (19.0, 50_000_000.0, "plus", False, 0, "O'Hare"),
        (70.0, 49_999_000.0, None, False, 29, "Zürich"),
    )
]
DTYPES = {
    "age": "float32",
    "balance": "float64",
    "plan": "object",
    "newsletter": "bool",
    "visits": "int64",
    "region": "object",
}


@pytest.fixture(scope="module")
def server(shop: Path) -> Iterator[Process]:
    with served("--model", shop, "--grpc-port", 0) as process:
        yield process


@pytest.fixture(scope="module")
def question(server: Process, shop: Path) -> dict[str, Any]:
    """What a script is told: the customers as records, as columns and as one matrix."""
    features = load_model(shop).manifest.features
    return {
        "address": server.url.removeprefix("http://"),
        "grpc_address": f"127.0.0.1:{server.ready['grpc_port']}",
        "model": "shop",
        "version": "3",
        "records": RECORDS,
        # A missing text is an empty one: tensors hold no null.
        "columns": {name: (DTYPES[name], [record[name] or "" if DTYPES[name] == "object" else record[name]
                           for record in RECORDS]) for name in DTYPES},
        "matrix": [[_number(feature, record[feature.name]) for feature in features] for record in RECORDS],
    }  # fmt: skip


def _number(feature: Any, value: Any) -> float:
    categories = getattr(feature, "categories", None)
    if categories is None:
        return float(value)
    return float(len(categories) if value is None else categories.index(value))


@pytest.fixture(scope="module")
def expected(server: Process) -> dict[str, Any]:
    """What /predict says of them."""
    told = httpx.post(f"{server.url}/predict", json={"records": RECORDS}, timeout=60).json()
    return {
        "version": told["version"],
        "probability": [one["probability"] for one in told["predictions"]],
        "label": ["1" if one["churn"] else "0" for one in told["predictions"]],
        "decision": [one["churn"] for one in told["predictions"]],
    }


def ask(peer: str, script: str, question: dict[str, Any]) -> Any:
    done = subprocess.run(
        [environment(peer) / "python", SCRIPTS / script],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_tritonclient_over_http(question: dict[str, Any], expected: dict[str, Any]):
    told = ask("mlserver", "triton_http.py", question)
    assert (told["live"], told["ready"], told["model_ready"]) == (True, True, [True, True, False])
    assert told["server"]["extensions"] == ["binary_tensor_data"]
    assert [tensor["name"] for tensor in told["metadata"]["inputs"]] == list(DTYPES)
    assert told["answers"] == dict.fromkeys(told["answers"], expected)
    assert told["only"] == [expected["probability"], None, "7"]
    assert told["error"] == ["400", "inputs are missing: 'age'"]


def test_tritonclient_over_grpc(question: dict[str, Any], expected: dict[str, Any]):
    told = ask("mlserver", "triton_grpc.py", question)
    assert (told["live"], told["ready"], told["model_ready"]) == (True, True, [True, True])
    assert told["server"]["name"] == "churn-serving"
    assert [tensor["name"] for tensor in told["metadata"]["inputs"]] == list(DTYPES)
    assert told["answers"] == dict.fromkeys(told["answers"], expected)
    assert told["only"] == [expected["probability"], None, "7", 0.5]
    assert told["reasons"] == [2, 2, 2]
    assert {case: error[0] for case, error in told["errors"].items()} == {
        "a column is missing": "StatusCode.INVALID_ARGUMENT",
        "another model": "StatusCode.NOT_FOUND",
        "another version": "StatusCode.NOT_FOUND",
        "compressed": "StatusCode.UNIMPLEMENTED",
    }
    assert told["errors"]["a column is missing"][1] == "inputs are missing: 'age'"


def test_kserves_client_in_both_protocols(question: dict[str, Any], expected: dict[str, Any]):
    told = ask("kserve", "kserve_rest.py", question)
    v1, v2 = told["v1"], told["v2"]
    assert (v1["live"], v1["model_ready"]) == (True, True)
    for answer in (v1["predictions"], v1["explanations"]):
        assert [one["probability"] for one in answer["predictions"]] == expected["probability"]
    assert len(v1["explanations"]["explanations"]) == len(RECORDS)
    assert (v2["live"], v2["ready"], v2["model_ready"]) == (True, True, [True, False])
    outputs = {name: values for name, values in expected.items() if name != "version"}  # its client drops it
    assert v2["answers"] == dict.fromkeys(v2["answers"], outputs)


def test_mlserver_infer(question: dict[str, Any], expected: dict[str, Any], tmp_path: Path):
    datatypes = {"float32": "FP32", "float64": "FP64", "object": "BYTES", "bool": "BOOL", "int64": "INT64"}
    requests = [
        {
            "id": str(at),
            "inputs": [
                {"name": name, "shape": [1, 1], "datatype": datatypes[dtype], "data": [values[at]]}
                for name, (dtype, values) in question["columns"].items()
            ],
        }
        for at in range(len(RECORDS))
    ]
    given, got = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text("".join(json.dumps(request) + "\n" for request in requests))
    command = [environment("mlserver") / "mlserver", "infer", "--model-name", "shop", "--batch-size", "2"]
    where = ["--url", question["address"], "--input-data-path", given, "--output-data-path", got]
    subprocess.run([*command, *where], check=True, capture_output=True, timeout=120)
    answers = [json.loads(line) for line in got.read_text().splitlines()]
    found = {
        answer["parameters"]["batch_index"]: {out["name"]: out["data"] for out in answer["outputs"]}
        for answer in answers
    }
    assert [found[at]["probability"] for at in range(3)] == [[each] for each in expected["probability"]]
    assert [found[at]["decision"] for at in range(3)] == [[each] for each in expected["decision"]]


@pytest.mark.parametrize("peer", ["bentoml", "kserve", "mlserver", "naive"])
def test_what_a_peer_needs_is_locked_by_hash(peer: str):
    locked = (ROOT / "dev/peers" / f"{peer}.txt").read_text()
    wanted = [line.split()[0] for line in (ROOT / "dev/peers" / f"{peer}.in").read_text().splitlines()]
    assert wanted
    for name in wanted:
        assert f"\n{name.partition('>')[0].partition('[')[0]}==" in locked
    assert "--hash=sha256:" in locked
