"""`kubectl churn predict` asks a server that speaks TLS, wants a key and answers to one name only."""

import json
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from churn_dev.paths import ROOT
from churn_kubectl.call import KEY_ENV, Caller, post, read_key
from churn_kubectl.cluster import Cluster
from churn_kubectl.errors import ChurnError
from churn_serving.keyfile import add_key

from ..serving.asgi import Process, served  # noqa: TID252  # lanes share what serves
from ..serving.test_tls import Pair  # noqa: TID252

SAMPLE = ROOT / "k8s/samples/bundle"
NAME = "127.0.0.1"  # in the certificate
BODY = json.dumps(
    {"records": [json.loads((SAMPLE / "golden.jsonl").read_text().splitlines()[0])["record"]]}
).encode()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def pair(directory: Path) -> Pair:
    return Pair(directory)


@pytest.fixture(scope="module")
def key(directory: Path) -> str:
    return add_key(directory / "keys.json", "crm", None, None)


@pytest.fixture(scope="module")
def server(directory: Path, pair: Pair, key: str) -> Iterator[Process]:
    assert key
    guarded = ("--auth", "keys", "--auth-keys", directory / "keys.json", "--allowed-hosts", NAME)
    with served("--model", SAMPLE, *pair.arguments, *guarded) as process:
        yield process


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster whose one Secret is `telco-client`, told by a kubectl of ours."""
    data = {"key": b64encode(b"sesame\n").decode(), "old": b64encode(b"open").decode()}
    program = tmp_path / "kubectl"
    program.write_text(
        f"#!/bin/sh\ncase \"$*\" in *telco-client*) echo '{json.dumps({'data': data})}';; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("KUBECTL", os.fspath(program))
    return Cluster("shop")


def ask(server: Process, caller: Caller, name: str = NAME) -> tuple[int, Any]:
    status, answer = post((NAME, int(server.ready["port"])), name, BODY, caller, tls=True)
    return status, json.loads(answer)


def test_with_a_key_and_the_certificate_there_is_an_answer(server: Process, pair: Pair, key: str):
    status, answer = ask(server, Caller(key=key, trusted=pair.certificate))
    assert (status, len(answer["predictions"])) == (200, 1)


def test_without_a_key_the_server_says_so(server: Process, pair: Pair):
    assert ask(server, Caller(trusted=pair.certificate))[0] == 401


def test_a_header_of_ones_own_goes_before_the_key(server: Process, pair: Pair, key: str):
    mine = Caller({"authorization": f"Bearer {key}"}, key="another", trusted=pair.certificate)
    assert ask(server, mine)[0] == 200


def test_a_certificate_that_nobody_vouches_for_is_refused_with_what_mends_it(server: Process, key: str):
    with pytest.raises(ChurnError, match=r"127\.0\.0\.1 is not trusted: .*--ca-file"):
        ask(server, Caller(key=key))


def test_another_name_than_the_certificates_is_refused(server: Process, pair: Pair, key: str):
    with pytest.raises(ChurnError, match=r"telco\.shop\.svc is not trusted: .*--server-name"):
        ask(server, Caller(key=key, trusted=pair.certificate), "telco.shop.svc")


def test_a_key_comes_from_a_file_before_a_secret_before_the_environment(
    secret: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "key"
    file.write_text("in the file\n")
    monkeypatch.setenv(KEY_ENV, "in the environment")
    assert read_key(secret, file, "telco-client") == "in the file"
    assert read_key(secret, None, "telco-client") == "sesame"
    assert read_key(secret, None, "telco-client/old") == "open"
    assert read_key(secret, None, None) == "in the environment"


def test_a_key_that_is_not_there_is_said_without_what_else_is(secret: Cluster, tmp_path: Path):
    with pytest.raises(ChurnError, match=r"it has key, old; write NAME/FIELD") as missing:
        read_key(secret, None, "telco-client/new")
    assert "sesame" not in str(missing.value)
    with pytest.raises(ChurnError, match="there is no such Secret"):
        read_key(secret, None, "another")
    with pytest.raises(ChurnError, match="cannot be read"):
        read_key(secret, tmp_path / "none", None)
    assert "sesame" not in repr(Caller(key="sesame"))
