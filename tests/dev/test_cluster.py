"""Which way to a cluster a machine has."""

import os

import pytest

from churn_dev import builder, cluster, local
from churn_dev.errors import DevError, MissingPrerequisite


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have chosen a way."""
    monkeypatch.delenv("CLUSTER", raising=False)


def test_without_a_docker_engine_the_cluster_is_local(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    builder.docker_answers.cache_clear()
    try:
        assert cluster.provider() == "local"
    finally:
        builder.docker_answers.cache_clear()


@pytest.mark.parametrize("way", ["existing", "kind", "local"])
def test_a_chosen_way_is_taken(monkeypatch: pytest.MonkeyPatch, way: str):
    monkeypatch.setenv("CLUSTER", way)
    assert cluster.provider() == way


def test_an_unknown_way_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLUSTER", "minikube")
    with pytest.raises(DevError, match="existing, kind, local"):
        cluster.provider()


def test_who_is_not_root_is_told_the_three_ways_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingPrerequisite) as raised:
        local.prepare(nodes=2)
    assert str(raised.value).count("\n") == 0
    assert all(word in str(raised.value) for word in ("Docker", "root", "CLUSTER=existing"))
