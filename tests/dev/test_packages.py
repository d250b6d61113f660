"""Programs that the machine lacks."""

from pathlib import Path

import pytest

from churn_dev import packages
from churn_dev.errors import MissingPrerequisite


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH on which nothing lies, not even what installs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "_ADMIN_DIRECTORIES", [])
    return tmp_path


def test_each_package_is_named_once(bare_path: Path):
    assert packages.missing(["nsenter", "unshare", "buildah"]) == ["buildah", "util-linux"]


def test_what_is_there_is_not_missing(bare_path: Path):
    (bare_path / "runc").touch(mode=0o755)
    assert packages.missing(["runc"]) == []


def test_where_nothing_can_be_installed_one_line_says_what_to_install(bare_path: Path):
    with pytest.raises(MissingPrerequisite) as raised:
        packages.ensure(["nft", "buildah"])
    assert str(raised.value) == "missing: buildah, nftables; install with: apt-get install buildah nftables"


def test_programs_for_administrators_are_found_on_the_path_of_a_plain_user(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    packages.ensure(["sysctl"])
    assert packages.missing(["sysctl"]) == []
