"""A server for each module of hostile clients, looked at again after every one of them."""

import json
from collections.abc import Iterator

import pytest
from tests.serving.asgi import Process, served
from tests.serving.conftest import SAMPLE
from tests.serving.wire import ask, request

from .material import BODY, GOLDEN


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    """Waits for what clients send no longer than half a second."""
    with served("--model", SAMPLE, environment={"CHURN_RECEIVE_SECONDS": "0.5"}) as process:
        yield process


@pytest.fixture(scope="module")
def port(server: Process) -> int:
    return int(server.ready["port"])


@pytest.fixture(autouse=True)
def _the_server_goes_on(server: Process) -> Iterator[None]:
    """Whatever came before: the process is the same, and scores as it should."""
    yield
    assert server.process.poll() is None
    answer = ask(server.ready["port"], request(BODY))
    assert answer.status == 200
    probability = json.loads(answer.body)["predictions"][0]["probability"]
    assert probability == pytest.approx(GOLDEN["probability"], abs=1e-5)
