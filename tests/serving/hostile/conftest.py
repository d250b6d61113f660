"""Servers for each module of hostile clients, looked at again after every one of them."""

import json
from collections.abc import Iterator

import pytest
from tests.serving.asgi import Process, served
from tests.serving.conftest import SAMPLE
from tests.serving.wire import Wire, kept, request, wire

from .material import BODY, GOLDEN


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with served("--model", SAMPLE) as process:
        yield process


@pytest.fixture(scope="module")
def port(server: Process) -> int:
    return int(server.ready["port"])


@pytest.fixture(scope="module")
def _started_in_haste() -> Iterator[Process]:
    with served("--model", SAMPLE, environment={"CHURN_RECEIVE_SECONDS": "0.5"}) as process:
        yield process


@pytest.fixture
def hasty(_started_in_haste: Process) -> Iterator[Process]:
    """Waits for what clients send no longer than half a second: for those who are to be late."""
    yield _started_in_haste
    with kept(_started_in_haste.ready["port"]) as opened:
        goes_on(_started_in_haste, opened)


@pytest.fixture(autouse=True)
def _the_server_goes_on(server: Process) -> Iterator[None]:
    yield
    with wire(server.ready["port"]) as opened:
        goes_on(server, opened)


def goes_on(server: Process, opened: Wire) -> None:
    """Whatever came before: the process is the same, and scores as it should."""
    assert server.process.poll() is None
    opened.send(request(BODY))
    answer = opened.hear()
    assert answer.status == 200
    probability = json.loads(answer.body)["predictions"][0]["probability"]
    assert probability == pytest.approx(GOLDEN["probability"], abs=1e-5)
