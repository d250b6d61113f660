"""The local cluster's storage."""

from pathlib import Path

import pytest

from churn_dev.layout import Layout
from churn_dev.volumes import PER_NODE, volumes


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr("churn_dev.layout.STATE", tmp_path)
    return Layout("stored", 0, 2)


def test_a_claim_without_a_class_gets_one(layout: Layout):
    (storage_class,) = [obj for obj in volumes(layout) if obj["kind"] == "StorageClass"]
    assert storage_class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"


def test_every_volume_is_a_directory_of_its_own_that_any_user_may_write(layout: Layout):
    directories = {
        Path(obj["spec"]["local"]["path"]) for obj in volumes(layout) if obj["kind"] == "PersistentVolume"
    }
    assert len(directories) == 2 * PER_NODE
    assert {directory.stat().st_mode & 0o777 for directory in directories} == {0o777}


def test_without_nodes_there_is_no_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("churn_dev.layout.STATE", tmp_path)
    assert [obj["kind"] for obj in volumes(Layout("bare", 0, 0))] == ["StorageClass"]
