"""The way to the API server: what of the environment counts."""

from pathlib import Path

import pytest
import yaml

from churn_operator.runtime.client import connection

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
