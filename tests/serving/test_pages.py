"""Which names are ours, and whose pages may read our answers: on both ways to an answer."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from churn_serving.errors import ConfigInvalidError
from churn_serving.keyfile import add_key
from churn_serving.model import Model
from churn_serving.settings import load_settings

from .asgi import served
from .test_access import BODY, PAGES, PROBES, SCORING, as_here, documented, get
from .test_server_routes import serving_of
from .test_short_way import RECORD, Running, answer_whole_and_in_pieces, request, running_on, statuses

ORIGIN = "https://crm.example"
PREFLIGHT = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-api-key")


@asynccontextmanager
async def documented_server(model: Model, **more: object) -> AsyncIterator[Running]:
    """A server with the hosts and origins of the document's example."""
    (words,) = documented("churn-serving serve --model k8s/samples/bundle --allowed-hosts")
    given = dict(zip(words[4::2], words[5::2], strict=True))
    rules = {name.removeprefix("--").replace("-", "_"): value for name, value in given.items()}
    assert set(rules) == {"allowed_hosts", "cors_origins"}
    async with running_on(serving_of(model, **rules, **more)) as running:
        yield running


@pytest.fixture
async def running(telco_model: Model) -> AsyncIterator[Running]:
    async with documented_server(telco_model) as running:
        yield running


def to(host: str, asked: bytes, *headers: str) -> bytes:
    return asked.replace(b"Host: x", "\r\n".join([f"Host: {host}", *headers]).encode(), 1)


def granted(answer: bytes) -> list[bytes]:
    return re.findall(rb"\r\naccess-control-allow-origin: (.*?)\r\n", answer)


@pytest.mark.parametrize("path", SCORING)
@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("churn.example", True),
        ("CHURN.example:8080", True),
        ("eu.churn.example", True),
        ("evil.example", False),
        ("evilchurn.example", False),
        ("churn.example.evil.example", False),
        (".churn.example.", False),
        ("127.0.0.1:8080", False),
        ("", False),
    ],
)
async def test_a_request_is_answered_by_names_of_ours_alone(
    running: Running, path: str, host: str, ours: bool
):
    answer = await answer_whole_and_in_pieces(running, to(host, request(SCORING[path], path)))
    assert statuses(answer) == [(400 if path.startswith("/v2") else 200) if ours else 421]


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_shown_by_names_of_ours_alone(running: Running, path: str):
    assert statuses(await running.ask(get(path))) == [421]
    found = {"/nothing": 404}.get(path, 200)
    assert statuses(await running.ask(to("churn.example", get(path)))) == [found]


@pytest.mark.parametrize("path", PROBES)
async def test_probes_answer_to_any_name(running: Running, path: str):
    assert statuses(await running.ask(get(path))) == [200]


@pytest.mark.parametrize("body", [BODY, b"{"], ids=["good", "bad"])
@pytest.mark.parametrize("path", SCORING)
async def test_only_the_pages_named_may_read_an_answer(running: Running, path: str, body: bytes):
    asked = request(SCORING[path] if body == BODY else body, path)
    for origin, told in ((ORIGIN, [ORIGIN.encode()]), ("https://evil.example", []), ("null", [])):
        answer = await answer_whole_and_in_pieces(running, to("churn.example", asked, f"Origin: {origin}"))
        assert granted(answer) == told
        assert b"\r\nvary: origin\r\n" in answer
        assert b"allow-credentials" not in answer


async def test_a_page_may_read_a_stream(running: Running):
    lines = json.dumps(RECORD).encode() + b"\n"
    asked = request(lines, "/predict", "Content-Type: application/x-ndjson", "Connection: close")
    reader, writer = await running.open()
    writer.write(to("churn.example", asked, f"Origin: {ORIGIN}"))
    answer = await asyncio.wait_for(reader.read(), 20)
    assert (statuses(answer), granted(answer)) == ([200], [ORIGIN.encode()])
    writer.close()


async def test_a_page_may_ask_before_it_has_a_key(telco_model: Model, tmp_path: Path):
    keys = tmp_path / "keys.json"
    add_key(keys, "crm", None, None)
    async with documented_server(telco_model, auth="keys", auth_keys=keys) as running:
        for path in [*SCORING, *PAGES]:
            asked = get(path, f"Origin: {ORIGIN}", *PREFLIGHT).replace(b"GET", b"OPTIONS", 1)
            answer = await running.ask(to("churn.example", asked))
            assert (statuses(answer), granted(answer)) == ([200], [ORIGIN.encode()])
            assert b"x-api-key" in answer
            stranger = asked.replace(b"crm.example", b"evil.example")
            answer = await running.ask(to("churn.example", stranger))
            assert (statuses(answer), granted(answer)) == ([401], [])
        refused = await running.ask(to("churn.example", request(BODY), f"Origin: {ORIGIN}"))
        assert (statuses(refused), granted(refused)) == ([401], [ORIGIN.encode()])


async def test_every_page_may_read_where_the_star_is_set(telco_model: Model):
    async with running_on(serving_of(telco_model, cors_origins="*")) as running:
        answer = await answer_whole_and_in_pieces(
            running, to("x", request(BODY), "Origin: https://any.example")
        )
        assert granted(answer) == [b"*"]
        assert b"vary" not in answer


async def test_without_the_settings_nothing_is_said_of_pages(telco_model: Model):
    async with running_on(serving_of(telco_model)) as running:
        answer = await answer_whole_and_in_pieces(
            running, to("any.example", request(BODY), f"Origin: {ORIGIN}")
        )
        assert statuses(answer) == [200]
        assert b"access-control" not in answer
        asked = get("/predict", f"Origin: {ORIGIN}", *PREFLIGHT).replace(b"GET", b"OPTIONS", 1)
        assert statuses(await running.ask(asked)) == [405]


def test_the_documents_example_of_pages_starts():
    (serving,) = documented("churn-serving serve --model k8s/samples/bundle --allowed-hosts")
    with served(*as_here(serving, {})) as server:
        assert server.ready["event"] == "ready"


@pytest.mark.parametrize(
    "given",
    [
        {"cors_origins": "crm.example"},
        {"cors_origins": "https://crm.example/app"},
        {"cors_origins": "https://*.example"},
        {"allowed_hosts": "https://a.example"},
        {"allowed_hosts": "a.example:80"},
        {"allowed_hosts": "a.*"},
    ],
    ids=str,
)
def test_what_is_no_name_is_refused(given: dict[str, str]):
    with pytest.raises(ConfigInvalidError, match=next(reversed(given))):
        load_settings({"model": "m", **given}, {})
