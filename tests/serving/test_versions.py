"""Several revisions in one process: one that fails leaves the others, and a swap mixes no answer."""

import asyncio
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from churn_serving.errors import FileMismatchError, RevisionNotConfiguredError
from churn_serving.model import Model
from churn_serving.routing import build_table, load_revisions, read_serving_file
from churn_serving.server.app import TrafficApp
from churn_serving.server.metrics import Metrics
from churn_serving.server.probes import ProbeApp
from churn_serving.server.state import Serving
from churn_serving.settings import Settings

from .asgi import call
from .conftest import SAMPLE

RECORDS = [json.loads(line)["record"] for line in (SAMPLE / "golden.jsonl").read_text().splitlines()[:8]]


def file_of(tmp_path: Path, **entries: Any) -> Any:
    path = tmp_path / "serving.json"
    path.write_text(json.dumps({"model": "m", "revisions": entries}))
    return read_serving_file(path)


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """`good` loads, `spoilt` does not."""
    for name in ("good", "spoilt"):
        shutil.copytree(SAMPLE, tmp_path / "models" / name)
    (tmp_path / "models/spoilt/model.onnx").write_bytes(b"other bytes")
    return tmp_path / "models"


async def test_a_revision_that_fails_leaves_the_others_serving_and_is_told_of(
    tmp_path: Path, models_dir: Path
):
    file = file_of(tmp_path, good={}, spoilt={})
    models, failures = load_revisions(models_dir, file)
    serving = Serving(
        settings=Settings(model=Path("unused")),
        table=build_table(None, file, models),
        metrics=Metrics(),
        failures=failures,
    )
    app = TrafficApp(serving)
    answer = await call(app, "/predict", json.dumps({"records": RECORDS}).encode())
    assert (answer.status, answer.json["revision"]) == (200, "good")
    ready = await call(app, "/readyz", method="GET")
    assert ready.status == 200
    for told in (ready, await call(app, "/v1/models/m", method="GET")):
        assert [(f["revision"], f["reason"]) for f in told.json["failed"]] == [("spoilt", "FileMismatch")]
    text = (await call(ProbeApp(serving), "/metrics", method="GET")).body.decode()
    assert 'model_load_failed{reason="FileMismatch",revision="spoilt"} 1.0' in text


def test_one_that_is_not_configured_is_left_out_beside_others(tmp_path: Path, models_dir: Path):
    models, failures = load_revisions(models_dir, file_of(tmp_path, good={}))
    assert list(models) == ["good"]
    assert [failure.reason for failure in failures] == ["RevisionNotConfigured"]


def test_a_single_one_that_fails_is_raised_with_its_reason(tmp_path: Path, models_dir: Path):
    shutil.rmtree(models_dir / "good")
    with pytest.raises(FileMismatchError):
        load_revisions(models_dir, file_of(tmp_path, spoilt={}))
    with pytest.raises(RevisionNotConfiguredError):
        load_revisions(models_dir, file_of(tmp_path, good={}))


async def test_g4_a_swap_under_load_mixes_no_answer(tmp_path: Path, telco_model: Model):
    """Each revision has its own threshold in each table: an answer shows which pair it was made with."""
    models = {"a": telco_model, "b": telco_model}
    thresholds = [{"a": 0.1, "b": 0.2}, {"a": 0.3, "b": 0.4}]
    tables = [
        build_table(
            None,
            file_of(
                tmp_path,
                **{
                    name: {"weight": 100 if name == heavy else 0, "decision": {"threshold": value}}
                    for name, value in pair.items()
                },
            ),
            models,
        )
        for pair, heavy in zip(thresholds, "ab", strict=True)
    ]
    serving = Serving(settings=Settings(model=Path("unused")), table=tables[0], metrics=Metrics())
    app, body = TrafficApp(serving), json.dumps({"records": RECORDS}).encode()
    seen, pauses = set(), random.Random(1)  # noqa: S311 (no secret)

    async def ask(number: int) -> None:
        explained = b'{"explain": true, ' + body[1:]
        answer = await call(app, "/predict", explained if number % 3 == 0 else body)
        assert answer.status == 200
        (threshold,) = {prediction["threshold"] for prediction in answer.json["predictions"]}
        seen.add((answer.json["revision"], threshold))

    async def swap() -> None:
        for number in range(200):
            serving.use(tables[number % 2])
            for _ in range(
                pauses.randint(1, 4)
            ):  # in step with the requests it would always meet the same moment
                await asyncio.sleep(0)

    async def load(first: int) -> None:
        for number in range(60):
            await ask(first + number)

    await asyncio.gather(swap(), *(load(first) for first in range(10)))
    assert seen == {("a", 0.1), ("b", 0.4)}
