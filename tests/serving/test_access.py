"""Who is answered, on every way to an answer: in pieces, whole, and of every route."""

import json
import re
import shlex
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from churn_serving.cli import app as cli
from churn_serving.errors import ConfigInvalidError
from churn_serving.keyfile import add_key, read_keys, revoke_key
from churn_serving.model import Model
from churn_serving.server.access.caller import Caller
from churn_serving.server.app import TrafficApp
from churn_serving.server.exposition import Exposition
from churn_serving.server.http import RequestError
from churn_serving.server.probes import ProbeApp
from churn_serving.server.state import Serving
from churn_serving.settings import load_settings

from .asgi import Process, call, run, served
from .conftest import ROOT, SAMPLE
from .test_server_routes import serving_of
from .test_short_way import (
    ASKED,
    PREDICT_V1,
    RECORD,
    Running,
    Started,
    answer_whole_and_in_pieces,
    body_of,
    request,
    running_on,
    statuses,
)

DOCUMENT = ROOT / "docs/access.md"
BODY = body_of(RECORD)
SCORING = {
    "/predict": BODY,
    PREDICT_V1: body_of(RECORD, key="instances"),
    "/v1/models/telco:explain": body_of(RECORD, key="instances"),
    "/v2/models/telco/infer": b"{}",
}
PAGES = (
    "/",
    "/docs",
    "/openapi.json",
    "/v1/models",
    "/v1/models/telco",
    "/v2",
    "/v2/models/telco",
    "/nothing",
)
PROBES = ("/livez", "/readyz", "/health", "/ready")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def key(keys: Path) -> str:
    return add_key(keys, "crm", None, None)


@pytest.fixture
async def guarded(telco_model: Model, keys: Path, key: str) -> AsyncIterator[Running]:
    async with running_on(serving_of(telco_model, auth="keys", auth_keys=keys)) as running:
        yield running


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def error_of(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize("path", SCORING)
async def test_a_scoring_route_refuses_who_shows_no_key(guarded: Running, path: str):
    answer = await answer_whole_and_in_pieces(guarded, request(SCORING[path], path))
    assert statuses(answer) == [401]
    assert b'\r\nwww-authenticate: Bearer realm="churn-serving"\r\n' in answer
    assert isinstance(error_of(answer), dict if path == "/predict" else str)


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_refuses_who_shows_no_key(guarded: Running, key: str, path: str):
    assert statuses(await guarded.ask(get(path))) == [401]
    found = {"/nothing": 404}.get(path, 200)
    assert statuses(await guarded.ask(get(path, f"X-API-Key: {key}"))) == [found]


async def test_the_openapi_document_says_where_a_key_is_asked_for_and_how(guarded: Running, key: str):
    answer = await guarded.ask(get("/openapi.json", f"X-API-Key: {key}"))
    document = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert document["components"]["securitySchemes"].keys() == {"key", "header"}
    assert document["security"] == [{"key": []}, {"header": []}]
    for path, operations in document["paths"].items():
        for operation in (operations[name] for name in ("get", "post") if name in operations):
            if path in PROBES:
                assert operation["security"] == []
            else:
                assert operation["responses"].keys() > {"401", "429"}
                assert "security" not in operation


@pytest.mark.parametrize("path", PROBES)
async def test_probes_ask_nobody(guarded: Running, path: str):
    assert statuses(await guarded.ask(get(path))) == [200]


@pytest.mark.parametrize("header", ["Authorization: Bearer {}", "authorization: bearer  {}", "X-API-Key: {}"])
@pytest.mark.parametrize("path", SCORING)
async def test_a_key_opens_every_scoring_route_in_either_header(
    guarded: Running, key: str, path: str, header: str
):
    answer = await answer_whole_and_in_pieces(guarded, request(SCORING[path], path, header.format(key)))
    assert statuses(answer) == [400 if path.startswith("/v2") else 200]


@pytest.mark.parametrize(
    "shown",
    [
        ["Authorization: Bearer churn_wrong"],
        ["Authorization: Bearer"],
        ["Authorization: Bearer {key}x"],
        ["Authorization: Basic {key}"],
        ["Authorization: {key}"],
        ["X-API-Key: "],
        ["X-API-Key: {digest}"],
        ["X-API-Key: {key}", "X-API-Key: {key}"],
        ["X-API-Key: {key}", "Authorization: Bearer churn_wrong"],
        ["Cookie: key={key}"],
    ],
    ids=str,
)
async def test_what_is_not_one_known_key_is_refused(guarded: Running, keys: Path, key: str, shown: list[str]):
    (entry,) = read_keys(keys)
    lines = [line.format(key=key, digest=entry.sha256) for line in shown]
    answer = await answer_whole_and_in_pieces(guarded, request(BODY, "/predict", *lines))
    assert statuses(answer) == [401]
    assert key not in answer.decode()


@pytest.mark.parametrize("kind", ["a wrong column", "too large a body", "in chunks", "compressed", "a query"])
async def test_who_is_refused_learns_nothing_of_the_rest(guarded: Running, kind: str):
    assert statuses(await answer_whole_and_in_pieces(guarded, ASKED[kind])) == [401]


async def test_a_key_after_a_chunked_body_is_no_key(guarded: Running, key: str):
    asked = ASKED["in chunks"].replace(b"0\r\n\r\n", f"0\r\nX-API-Key: {key}\r\n\r\n".encode())
    assert statuses(await answer_whole_and_in_pieces(guarded, asked)) == [401]


async def test_a_whole_request_with_a_key_still_needs_no_task(guarded: Running, key: str):
    guarded.state.tasks = Started()
    for kind, tasks in (("churn_wrong", 1), (key, 1)):
        await guarded.ask(request(BODY, "/predict", f"X-API-Key: {kind}"))
        assert len(guarded.state.tasks) == tasks


def limited(burst: int) -> tuple[list[float], Caller]:
    """A caller of two requests a second and the clock that it is given."""
    now = [100.0]
    return now, Caller("crm", "crm", rate=2, burst=burst, clock=lambda: now[0])


def allowed(caller: Caller, asked: int) -> int:
    """How many of so many requests at once are answered."""
    for count in range(asked):
        try:
            caller.spend()
        except RequestError:
            return count
    return asked


def test_a_rate_lets_a_burst_through_and_then_its_requests_a_second():
    now, caller = limited(burst=5)
    assert allowed(caller, 10) == 5
    now[0] += 1
    assert allowed(caller, 10) == 2
    now[0] += 3600
    assert allowed(caller, 10) == 5


def test_a_refused_request_costs_nothing():
    now, caller = limited(burst=1)
    caller.spend()
    for _ in range(100):
        with pytest.raises(RequestError):
            caller.spend()
    now[0] += 0.5
    caller.spend()


def test_no_two_seconds_see_more_than_a_burst_and_the_rate():
    """However the requests fall: a window counted anew each second would let twice its number through."""
    now, caller = limited(burst=2)
    times = []
    for tick in range(400):
        now[0] = 100 + tick / 50
        if allowed(caller, 1):
            times.append(now[0])
    assert max(sum(start <= each < start + 1 for each in times) for start in times) <= 4


def test_who_waits_as_long_as_told_is_answered():
    now, caller = limited(burst=1)
    caller.spend()
    with pytest.raises(RequestError) as refused:
        caller.spend()
    now[0] += int(dict(refused.value.headers)[b"retry-after"])
    caller.spend()


@pytest.mark.parametrize("path", SCORING)
async def test_beyond_its_rate_a_key_gets_429_and_when_to_come_again(
    telco_model: Model, keys: Path, path: str
):
    slow, other = add_key(keys, "batch", 0.01, 3), add_key(keys, "crm", None, None)
    async with running_on(serving_of(telco_model, auth="keys", auth_keys=keys)) as running:
        asked = request(SCORING[path], path, f"X-API-Key: {slow}")
        head = asked.index(b"\r\n\r\n") + 4
        good = 400 if path.startswith("/v2") else 200
        ways = [asked], [asked[:head], asked[head:]], [asked]
        assert [statuses(await running.ask(*way)) for way in ways] == [[good]] * 3
        answer = await answer_whole_and_in_pieces(running, asked)
        assert statuses(answer) == [429]
        assert re.search(rb"\r\nretry-after: [1-9]\d?\d?\r\n", answer)
        assert statuses(await running.ask(request(SCORING[path], path, f"X-API-Key: {other}"))) == [good]


async def test_a_request_is_counted_once_whichever_way_it_goes(telco_model: Model, keys: Path):
    key = add_key(keys, "batch", 0.01, 2)
    async with running_on(serving_of(telco_model, auth="keys", auth_keys=keys)) as running:
        wrong, right = (request(body, "/predict", f"X-API-Key: {key}") for body in (body_of({}), BODY))
        found = [statuses(await running.ask(asked)) for asked in (wrong, right, right)]
        assert found == [[422], [200], [429]]


async def test_metrics_say_whose_requests_they_were(guarded: Running, key: str):
    for headers in ([f"X-API-Key: {key}"], [f"Authorization: Bearer {key}"], ["X-API-Key: no"], []):
        await guarded.ask(request(BODY, "/predict", *headers))
    scraped = exposed(guarded.serving)
    assert 'http_caller_requests_total{caller="crm",status="200"} 2.0' in scraped
    assert 'model_errors_total{code="unauthenticated"} 2.0' in scraped
    assert 'http_requests_total{method="POST",route="/predict",status="401"} 2.0' in scraped
    assert scraped.count("http_caller_requests_total{") == 1


def exposed(serving: Serving) -> str:
    return Exposition(serving.metrics, CollectorRegistry()).render().decode()


async def test_an_added_and_a_revoked_key_count_from_the_next_look(guarded: Running, keys: Path, key: str):
    second = add_key(keys, "web", None, None)
    revoke_key(keys, "crm")
    asked = [request(BODY, "/predict", f"X-API-Key: {each}") for each in (key, second)]
    assert [statuses(await guarded.ask(each)) for each in asked] == [[200], [401]]
    look(guarded.serving)
    assert [statuses(await guarded.ask(each)) for each in asked] == [[401], [200]]


def put(path: Path, text: str | None) -> str:
    """Replace the file as the kubelet does, by another of its name; None takes it away."""
    old = path.read_text() if path.exists() else ""
    if text is None:
        path.unlink()
    else:
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(path)
    return old


def look(serving: Serving) -> None:
    for file in serving.mounted:
        file.look()


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"keys": [{"name": "x"}]}', None], ids=str)
async def test_a_broken_file_leaves_the_keys_as_they_were_and_is_seen(
    guarded: Running, keys: Path, key: str, broken: str | None
):
    good = put(keys, broken)
    look(guarded.serving)
    look(guarded.serving)
    asked = request(BODY, "/predict", f"X-API-Key: {key}")
    assert statuses(await guarded.ask(asked)) == [200]
    assert statuses(await guarded.ask(request(BODY))) == [401]
    for app in (ProbeApp(guarded.serving), TrafficApp(guarded.serving)):
        ready = await call(app, "/readyz", method="GET")
        assert (ready.status, ready.json["refused_files"]) == (200, ["keys"])
    assert 'serving_file_refused{file="keys"} 1.0' in exposed(guarded.serving)
    assert 'serving_file_changes_total{file="keys",result="refused"} 1.0' in exposed(guarded.serving)
    put(keys, good)
    look(guarded.serving)
    assert "refused_files" not in (await call(ProbeApp(guarded.serving), "/readyz", method="GET")).json
    assert 'serving_file_refused{file="keys"} 0.0' in exposed(guarded.serving)


async def test_without_keys_in_the_file_nobody_is_answered(telco_model: Model, keys: Path):
    put(keys, '{"keys": []}')
    async with running_on(serving_of(telco_model, auth="keys", auth_keys=keys)) as running:
        assert statuses(await running.ask(request(BODY, "/predict", "X-API-Key: x"))) == [401]


KEY = {"name": "crm", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("", "truncated"),
        ("[]", "Expected `object`"),
        ({"keys": [KEY, KEY | {"sha256": "1" * 64}]}, "same name"),
        ({"keys": [KEY, KEY | {"name": "web"}]}, "same sha256"),
        ({"keys": [KEY | {"sha256": "A" * 64}]}, r"\$.keys\[0\].sha256"),
        ({"keys": [KEY | {"name": "a b"}]}, r"\$.keys\[0\].name"),
        ({"keys": [KEY | {"rate": 0}]}, r"\$.keys\[0\].rate"),
        ({"keys": [KEY | {"burst": 5}]}, "burst goes with rate"),
        ({"keys": [KEY | {"key": "secret"}]}, "unknown field `key`"),
        ({"keys": [], "key": 1}, "unknown field `key`"),
        ("x" * (1 << 20) + "y", "is larger than"),
    ],
)
def test_a_file_that_is_not_one_of_keys_is_no_start(telco_model: Model, keys: Path, content: Any, told: str):
    if content is not None:
        put(keys, content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigInvalidError, match=told):
        serving_of(telco_model, auth="keys", auth_keys=keys)


@pytest.mark.parametrize(
    "given", [{"auth": "keys"}, {"auth_keys": "keys.json"}, {"auth": "on", "auth_keys": "keys.json"}], ids=str
)
def test_a_mode_without_its_file_and_a_file_without_its_mode_are_refused(given: dict[str, str]):
    with pytest.raises(ConfigInvalidError, match="auth"):
        load_settings({"model": "m", **given}, {})


class TestCommand:
    def test_a_key_is_told_once_and_only_its_digest_kept(self, tmp_path: Path):
        done = run("keys", "add", "keys.json", "crm", "--rate", "50", "--burst", "100", cwd=tmp_path)
        file = tmp_path / "keys.json"
        secret = done.stdout.strip()
        assert json.loads(file.read_text()) == {
            "keys": [{"name": "crm", "sha256": sha256(secret.encode()).hexdigest(), "rate": 50, "burst": 100}]
        }
        assert file.stat().st_mode & 0o777 == 0o600
        listed = run("keys", "list", "keys.json", cwd=tmp_path).stdout
        assert "crm" in listed
        assert "50/s, 100 at once" in listed

    def test_two_keys_are_never_alike_and_long_enough(self, keys: Path):
        made = {add_key(keys, f"n{number}", None, None) for number in range(20)}
        assert len(made) == 20
        assert all(len(secret) == len("churn_") + 43 for secret in made)  # 43 letters of 6 bits

    @pytest.mark.usefixtures("key")
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["add", "keys.json", "crm"], "has a key called crm"),
            (["add", "keys.json", "a b"], "name"),
            (["add", "keys.json", "web", "--burst", "5"], "burst goes with rate"),
            (["revoke", "keys.json", "web"], "no key called web"),
            (["list", "nothing.json"], "cannot be read"),
        ],
        ids=str,
    )
    def test_what_cannot_be_done_is_told_and_leaves_the_file(
        self, keys: Path, arguments: list[str], told: str
    ):
        before = keys.read_bytes()
        verb, file, *rest = arguments
        done = CliRunner().invoke(cli, ["keys", verb, str(keys.parent / file), *rest])
        assert (done.exit_code, told in done.output) == (1, True)
        assert keys.read_bytes() == before


def test_the_documents_example_works_as_it_stands(tmp_path: Path):
    """But for free ports and the key, which is another each time."""
    adding, serving, *asking = documented("churn-serving keys")
    secret = run(*adding[1:], cwd=tmp_path).stdout.strip()
    here = {"keys.json": tmp_path / "keys.json"}
    with served(*as_here(serving, here), environment={"CHURN_ACCESS_LOG": "true"}) as server:
        assert server.ready["auth"] == "keys"
        for words in asking:
            assert asked_as(words, server, {"$KEY": secret}) == 200
            logged = server.next_event()
            assert (logged["caller"], logged["status"]) == ("crm", 200)
            assert secret not in str(logged)
        assert httpx.post(f"{server.url}/predict", content=BODY, timeout=60).status_code == 401
        assert "caller" not in server.next_event()


def documented(beginning: str) -> list[list[str]]:
    """The words of each command of the one example that begins so."""
    blocks = re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (block,) = [each for each in blocks if each.startswith(beginning)]
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def as_here(serving: list[str], here: dict[str, Path]) -> list[object]:
    """The arguments of `serve`, with the files that this test has."""
    known = {"k8s/samples/bundle": SAMPLE, **here}
    return [known.get(word, word) for word in serving[2:]]


def asked_as(words: list[str], server: Process, variables: dict[str, str]) -> int:
    """What a `curl` of the document is answered."""
    line = "\0".join(words).replace("http://localhost:8080", server.url)
    for name, value in variables.items():
        line = line.replace(name, value)
    words = line.split("\0")
    headers = dict(words[at + 1].split(": ") for at, word in enumerate(words) if word == "-H")
    return httpx.post(words[1], content=BODY, headers=headers, timeout=60).status_code


def test_a_server_without_its_file_of_keys_says_so_and_ends(tmp_path: Path):
    done = run(
        "serve", "--model", SAMPLE, "--auth", "keys", "--auth-keys", tmp_path / "no.json", cwd=tmp_path
    )
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["reason"], "no.json" in told["message"]) == ("ConfigInvalid", True)
