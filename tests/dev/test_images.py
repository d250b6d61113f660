"""What goes into an image, and when it is built anew."""

from pathlib import Path

import pytest

from churn_dev import images
from churn_dev.paths import ROOT


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with one module."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "module.py").write_text("x = 1\n")
    return folder


def test_the_same_files_have_the_same_key(source: Path):
    assert images.content_key([source], "text") == images.content_key([source], "text")


def test_a_changed_file_changes_the_key(source: Path):
    before = images.content_key([source])
    (source / "module.py").write_text("x = 2\n")
    assert images.content_key([source]) != before


def test_a_moved_file_changes_the_key(source: Path):
    before = images.content_key([source])
    (source / "module.py").rename(source / "renamed.py")
    assert images.content_key([source]) != before


def test_a_changed_dockerfile_changes_the_key(source: Path):
    assert images.content_key([source], "FROM a") != images.content_key([source], "FROM b")


def test_bytecode_does_not_change_the_key(source: Path):
    before = images.content_key([source])
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "module.pyc").write_bytes(b"1")
    assert images.content_key([source]) == before


@pytest.mark.parametrize("dockerfile", images.PRODUCT.values())
def test_all_that_a_dockerfile_copies_from_the_repository_is_watched(dockerfile: str):
    text = (ROOT / dockerfile).read_text()
    watched = {str(path.relative_to(ROOT)) for path in images._copied(text)}
    copied = [
        line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    assert watched == {source for sources in copied for source in sources}
    assert all((ROOT / source).exists() for source in watched)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("docker.io/team/model:1", "docker.io/team/model@sha256:0"),
        ("localhost:5000/model:1", "localhost:5000/model@sha256:0"),
        ("localhost:5000/model", "localhost:5000/model@sha256:0"),
    ],
)
def test_a_reference_by_digest_drops_the_tag_and_keeps_the_port(name: str, reference: str):
    assert images.Archive(name, Path("unused"), "sha256:0").by_digest == reference
