"""The way to the API server: what of the environment counts."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio.client.configuration import Configuration

from churn_operator.errors import KindMissingError, NotFoundError, NotLeadingError
from churn_operator.kinds import LEASE
from churn_operator.runtime.client import MERGE_PATCH, Client, _error, as_yaml, connection

SERVER = "https://api.example:6443"


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        "clusters": [{"name": "it", "cluster": {"server": SERVER}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("kubeconfig")
async def test_the_api_server_is_reached_through_the_proxy_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert (await connection()).proxy == "http://proxy.example:3128"


@pytest.mark.usefixtures("kubeconfig")
async def test_no_proxy_is_used_where_the_environment_excepts_the_api_server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "api.example")
    assert (await connection()).proxy is None


@pytest.mark.usefixtures("kubeconfig")
async def test_no_proxy_is_used_where_none_is_named():
    assert (await connection()).proxy is None


# Without exponents: PyYAML takes 1e-7 for a text, unlike the server.
NUMBERS = st.integers(-(10**9), 10**9).map(lambda thousandths: thousandths / 1000)


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text() | st.lists(st.text()) | NUMBERS | st.booleans(), max_size=5))
def test_whatever_text_an_object_holds_is_yaml_that_means_the_same(obj: dict[str, object]):
    assert yaml.safe_load(as_yaml({"data": obj})) == {"data": obj}


def test_half_a_character_is_replaced_and_does_not_stop_the_rest():
    assert yaml.safe_load(as_yaml({"message": "a\ud800b \U0001f600"})) == {"message": "a\ufffdb \U0001f600"}


@pytest.mark.parametrize(
    ("told", "wait"), [("7", 7), ("86400", 60), ("9" * 400, 60), ("soon", None), ("\xb2", None)]
)
def test_a_server_is_believed_about_when_to_come_again_up_to_a_minute(told: str, wait: float | None):
    assert _error(429, {}, {"Retry-After": told}).retry_after == wait


def test_a_kind_that_is_missing_is_not_an_object_that_is_gone():
    assert isinstance(_error(404, {"details": {"name": "telco"}}, {}), NotFoundError)
    assert isinstance(_error(404, {"message": "could not find the requested resource"}, {}), KindMissingError)


LEASE_OBJECT = LEASE.named("shop", "gate")


async def apply(client: Client) -> Any:
    return await client.apply(LEASE, LEASE_OBJECT, "me")


async def create(client: Client) -> Any:
    return await client.create(LEASE, LEASE_OBJECT, "me")


async def patch(client: Client) -> Any:
    return await client.patch(LEASE, "shop", "gate", {}, "me", content_type=MERGE_PATCH)


async def delete(client: Client) -> Any:
    await client.delete(LEASE, "shop", "gate", "uid")


@pytest.mark.parametrize("send", [apply, create, patch, delete])
async def test_a_write_that_lost_its_right_while_it_got_a_connection_never_reaches_the_wire(
    send: Callable[[Client], Awaitable[Any]],
):
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.read())
        writer.close()

    async with await asyncio.start_server(read, "127.0.0.1", 0) as server:
        configuration = Configuration(host=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        client = Client(configuration, may_write=iter([True, False]).__next__)
        with pytest.raises(NotLeadingError, match="was not sent"):
            await send(client)
        await client.close()
        assert await received.get() == b""


@pytest.mark.parametrize("details", ["text", [], {"causes": ["text", None]}, None])
def test_an_error_of_any_shape_is_an_error(details: object):
    assert _error(403, {"details": details, "message": ["x"]}, {}).status == 403
