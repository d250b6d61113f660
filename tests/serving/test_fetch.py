"""Bundles are fetched from a real S3 server and a real HTTPS server, and verified before they can be used."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from churn_dev.stores import TokenHandler, s3_store
from churn_serving.bundle import sums
from churn_serving.errors import FetchFailedError
from churn_serving.fetch import fetch_bundle, open_store
from churn_serving.model import load_model

from .asgi import run
from .conftest import SAMPLE
from .fetching import DIGEST, reason_of

TOKEN = TokenHandler.token


def test_a_bundle_is_fetched_over_https_with_a_private_authority(
    web: tuple[str, Path], trusted: dict[str, str], tmp_path: Path
):
    url, _ = web
    done = run(
        "fetch", f"{url}/telco/", "--digest", DIGEST, "--out", "out", cwd=tmp_path, environment=trusted
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_model(tmp_path / "out", DIGEST).manifest.name == "telco"
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(sums.MAX_BYTES)


def test_an_unknown_authority_is_not_trusted(web: tuple[str, Path], tmp_path: Path):
    url, _ = web
    assert reason_of(f"{url}/telco", tmp_path / "out", {"CHURN_FETCH_TOKEN": TOKEN}) == "FetchFailed"


def test_a_missing_token_is_named(web: tuple[str, Path], trusted: dict[str, str], tmp_path: Path):
    del trusted["CHURN_FETCH_TOKEN"]
    with pytest.raises(FetchFailedError, match="credentials"):
        fetch_bundle(f"{web[0]}/telco", DIGEST, tmp_path / "out", environ=trusted)


def test_what_is_not_there_is_incomplete(web: tuple[str, Path], trusted: dict[str, str], tmp_path: Path):
    url, root = web
    assert reason_of(f"{url}/nothing", tmp_path / "out", trusted) == "BundleIncomplete"
    (root / "telco" / "golden.jsonl").unlink()
    assert reason_of(f"{url}/telco", tmp_path / "out", trusted) == "BundleIncomplete"


def test_other_bytes_than_pinned_are_refused_before_the_files_are_asked_for(
    web: tuple[str, Path], trusted: dict[str, str], tmp_path: Path
):
    url, root = web
    (root / "telco" / "model.onnx").unlink()
    assert reason_of(f"{url}/telco", tmp_path / "out", trusted, "sha256:" + "0" * 64) == "DigestMismatch"
    assert reason_of(f"{url}/sign-in", tmp_path / "out", trusted) == "DigestMismatch"


def test_a_changed_file_is_refused(web: tuple[str, Path], trusted: dict[str, str], tmp_path: Path):
    url, root = web
    (root / "telco" / "model.onnx").write_bytes(b"other")
    assert reason_of(f"{url}/telco", tmp_path / "out", trusted) == "FileMismatch"


def test_a_file_without_end_is_cut_at_its_cap(web: tuple[str, Path], trusted: dict[str, str], tmp_path: Path):
    assert reason_of(f"{web[0]}/endless", tmp_path / "out", trusted) == "BundleTooLarge"


def test_max_bytes_holds_for_all_files_together(
    web: tuple[str, Path], trusted: dict[str, str], tmp_path: Path
):
    assert reason_of(f"{web[0]}/telco", tmp_path / "out", trusted, max_bytes=35_000) == "BundleTooLarge"


def test_a_directory_that_cannot_be_written_says_so(
    web: tuple[str, Path], trusted: dict[str, str], tmp_path: Path
):
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchFailedError, match="no directory"):
        fetch_bundle(f"{web[0]}/telco", DIGEST, tmp_path / "file", environ=trusted)


def test_a_failed_fetch_writes_the_reason_for_the_pod(tmp_path: Path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"https://127.0.0.1:{unused.getsockname()[1]}/b"
        environment = {"CHURN_TERMINATION_LOG": str(tmp_path / "termination")}
        done = run("fetch", uri, "--digest", DIGEST, "--out", "out", cwd=tmp_path, environment=environment)
    assert done.returncode == 1
    assert '"reason": "FetchFailed"' in (tmp_path / "termination").read_text()


@pytest.mark.parametrize(
    "uri", ["http://host/b", "file:///etc", "/etc", "s3:///x", "https://user:pw@host/b", "gs://b/x"]
)
def test_other_kinds_of_places_are_refused(uri: str):
    with pytest.raises(FetchFailedError, match="neither"):
        open_store(uri, {})


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path]]:
    """A real S3 server over a folder whose sub-folders are buckets."""
    root = tmp_path_factory.mktemp("s3")
    shutil.copytree(SAMPLE, root / "models" / "telco" / "1")
    with s3_store(root, "127.0.0.1") as settings:
        yield dict(settings), root


def test_a_bundle_is_fetched_from_s3(s3: tuple[dict[str, str], Path], tmp_path: Path):
    environment, _ = s3
    done = run(
        "fetch",
        "s3://models/telco/1",
        "--digest",
        DIGEST,
        "--out",
        "out",
        cwd=tmp_path,
        environment=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert load_model(tmp_path / "out", DIGEST).manifest.name == "telco"


def test_wrong_s3_keys_are_named(s3: tuple[dict[str, str], Path], tmp_path: Path):
    environment = s3[0] | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    with pytest.raises(FetchFailedError, match="credentials"):
        fetch_bundle("s3://models/telco/1", DIGEST, tmp_path / "out", environ=environment)


def test_a_missing_prefix_is_incomplete(s3: tuple[dict[str, str], Path], tmp_path: Path):
    assert reason_of("s3://models/telco/2", tmp_path / "out", s3[0]) == "BundleIncomplete"


def test_a_fetched_bundle_replaces_the_one_before(s3: tuple[dict[str, str], Path], tmp_path: Path):
    """An emptyDir survives a restart of the init container."""
    for _ in range(2):
        fetch_bundle("s3://models/telco/1", DIGEST, tmp_path / "out", environ=s3[0])
    assert load_model(tmp_path / "out", DIGEST).manifest.version == "1"
