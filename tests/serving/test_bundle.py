"""A bundle is verified in a fixed order and refused with the reason that fits."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from churn_serving.bundle import sums
from churn_serving.bundle.read import read_bundle
from churn_serving.errors import BundleError, TooSlowError
from churn_serving.model import load_model


def relist(bundle: Path) -> None:
    """Make SHA256SUMS fit the files again, as somebody who forges a bundle would."""
    (bundle / sums.SUMS).write_bytes(
        sums.build_sums({name: (bundle / name).read_bytes() for name in sums.LISTED})
    )


def edit_json(bundle: Path, name: str, **changes: object) -> None:
    path = bundle / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    relist(bundle)


def edit_first_golden(bundle: Path, **changes: object) -> None:
    first, *others = (bundle / sums.GOLDEN).read_text().splitlines()
    (bundle / sums.GOLDEN).write_text("\n".join([json.dumps(json.loads(first) | changes), *others]))
    relist(bundle)


def reason_of(bundle: Path, digest: str | None = None) -> str:
    with pytest.raises(BundleError) as refused:
        load_model(bundle, digest)
    return refused.value.reason


def test_the_digest_is_the_sha256_of_sha256sums(telco: Path):
    expected = "sha256:" + hashlib.sha256((telco / "SHA256SUMS").read_bytes()).hexdigest()
    assert load_model(telco, expected).digest == expected


def test_sha256sums_is_what_sha256sum_writes(telco: Path):
    lines = (telco / "SHA256SUMS").read_text().splitlines()
    written = [
        f"{hashlib.sha256((telco / line[66:]).read_bytes()).hexdigest()}  {line[66:]}" for line in lines
    ]
    assert lines == written
    assert sorted(line[66:] for line in lines) == sorted(
        ["MODELCARD.md", "golden.jsonl", "model.json", "model.onnx", "reference.json"]
    )


def cut_model(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:700])


def flip_a_bit(bundle: Path) -> None:
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[900] ^= 1
    (bundle / "model.onnx").write_bytes(content)


def forge_cut_model(bundle: Path) -> None:
    cut_model(bundle)
    relist(bundle)


def an_html_page_as_model(bundle: Path) -> None:
    (bundle / "model.onnx").write_text("<!doctype html><title>Sign in</title>")
    relist(bundle)


def another_models_weights(bundle: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(bundle / "model.onnx")
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 2)
    changed = numpy_helper.to_array(tensor).copy()
    changed[0, 1] += 0.01
    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    relist(bundle)


def a_huge_card(bundle: Path) -> None:
    with (bundle / "MODELCARD.md").open("wb") as file:
        file.truncate(sums.MAX_BYTES["MODELCARD.md"] + 1)


def sums_line(line: str) -> Callable[[Path], None]:
    def edit(bundle: Path) -> None:
        with (bundle / "SHA256SUMS").open("a") as file:
            file.write(line + "\n")

    return edit


def swapped_link(target: str) -> Callable[[Path], None]:
    def edit(bundle: Path) -> None:
        (bundle.parent / "outside").write_text("secret")
        (bundle / "MODELCARD.md").unlink()
        (bundle / "MODELCARD.md").symlink_to(target)

    return edit


def a_pipe(bundle: Path) -> None:
    (bundle / "MODELCARD.md").unlink()
    os.mkfifo(bundle / "MODELCARD.md")


ZEROS = "0" * 64


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        pytest.param(cut_model, "FileMismatch", id="model cut off"),
        pytest.param(flip_a_bit, "FileMismatch", id="one bit flipped"),
        pytest.param(lambda b: (b / "reference.json").unlink(), "BundleIncomplete", id="a file missing"),
        pytest.param(lambda b: (b / "SHA256SUMS").unlink(), "BundleIncomplete", id="no SHA256SUMS"),
        pytest.param(a_huge_card, "BundleTooLarge", id="a file beyond its cap"),
        pytest.param(sums_line(f"{ZEROS}  ../secret"), "FileMismatch", id="SHA256SUMS names a path"),
        pytest.param(
            sums_line(f"{ZEROS}  /etc/passwd"), "FileMismatch", id="SHA256SUMS names an absolute path"
        ),
        pytest.param(sums_line(f"{ZEROS}  model.pkl"), "FileMismatch", id="SHA256SUMS names another file"),
        pytest.param(sums_line(f"{ZEROS}  model.onnx"), "FileMismatch", id="SHA256SUMS names a file twice"),
        pytest.param(sums_line("rubbish"), "FileMismatch", id="SHA256SUMS with a line of another kind"),
        pytest.param(lambda b: (b / "SHA256SUMS").write_text(""), "BundleIncomplete", id="SHA256SUMS empty"),
        pytest.param(swapped_link("../outside"), "FileMismatch", id="a link out of the bundle"),
        pytest.param(swapped_link("nowhere"), "BundleIncomplete", id="a link to nothing"),
        pytest.param(a_pipe, "FileMismatch", id="a pipe in place of a file"),
        pytest.param(
            lambda b: edit_json(b, "model.json", format_version=2), "SchemaInvalid", id="later format"
        ),
        pytest.param(
            lambda b: edit_json(b, "model.json", threshold=1.5), "SchemaInvalid", id="threshold above 1"
        ),
        pytest.param(lambda b: edit_json(b, "model.json", surprise=1), "SchemaInvalid", id="unknown field"),
        pytest.param(
            lambda b: edit_json(b, "model.json", positive="Maybe"), "SchemaInvalid", id="no such class"
        ),
        pytest.param(
            lambda b: edit_json(b, "model.json", ignored=["tenure"]), "SchemaInvalid", id="column twice"
        ),
        pytest.param(
            lambda b: edit_json(b, "reference.json", features={}), "SchemaInvalid", id="empty reference"
        ),
        pytest.param(forge_cut_model, "OnnxInvalid", id="model cut off and listed again"),
        pytest.param(an_html_page_as_model, "OnnxInvalid", id="a sign-in page as model"),
        pytest.param(another_models_weights, "GoldenMismatch", id="one weight changed"),
        pytest.param(
            lambda b: edit_first_golden(b, probability=0.5), "GoldenMismatch", id="a probability changed"
        ),
        pytest.param(
            lambda b: edit_first_golden(b, record={}), "GoldenMismatch", id="a golden row of other columns"
        ),
        pytest.param(
            lambda b: edit_json(b, "model.json", classes=["Yes", "No"]),
            "GoldenMismatch",
            id="classes reversed",
        ),
    ],
)
def test_a_broken_bundle_is_refused_with_its_reason(telco: Path, broken: Callable[[Path], None], reason: str):
    broken(telco)
    assert reason_of(telco) == reason


def test_a_pin_is_checked_before_any_file_is_parsed(telco: Path):
    an_html_page_as_model(telco)
    assert reason_of(telco, "sha256:" + ZEROS) == "DigestMismatch"


def test_sizes_are_checked_before_the_pin(telco: Path):
    a_huge_card(telco)
    assert reason_of(telco, "sha256:" + ZEROS) == "BundleTooLarge"


def test_a_pin_that_is_no_digest_says_so(telco: Path):
    with pytest.raises(BundleError, match="64 hex digits"):
        read_bundle(telco, "latest")


def test_a_golden_row_too_few_is_refused(telco: Path):
    rows = (telco / "golden.jsonl").read_text().splitlines()[:31]
    (telco / "golden.jsonl").write_text("\n".join(rows))
    relist(telco)
    assert reason_of(telco) == "SchemaInvalid"


def test_what_volumes_hold_beside_a_bundle_is_not_opened(telco: Path):
    """`lost+found` of a fresh disk, hidden files, and another model's pickle lie there and change nothing."""
    (telco / "lost+found").mkdir(mode=0o000)
    (telco / ".hidden").write_text("x")
    (telco / "model.pkl").write_bytes(b"\x80\x04.")
    assert load_model(telco).golden_rows == 64


def test_a_mounted_configmap_is_a_bundle_though_its_files_are_links(telco: Path, tmp_path: Path):
    """Kubernetes mounts `name -> ..data/name -> ..2026/name`: links that stay inside."""
    mount = tmp_path / "mount"
    (mount / "..2026").mkdir(parents=True)
    (mount / "..data").symlink_to("..2026")
    for name in sums.MAX_BYTES:
        (telco / name).rename(mount / "..2026" / name)
        (mount / name).symlink_to(f"..data/{name}")
    assert load_model(mount).manifest.name == "telco"


def test_a_model_slower_than_allowed_is_refused_with_what_it_took(telco: Path):
    with pytest.raises(TooSlowError, match=r"one golden row takes .* ms, allowed are 1e-06: serve a smaller"):
        load_model(telco, max_scoring_millis=1e-6)


def test_a_model_as_fast_as_allowed_loads(telco: Path):
    assert load_model(telco, max_scoring_millis=60_000).golden_rows >= 32


def test_loading_writes_nothing(telco: Path):
    """Image volumes and claims are mounted read-only."""
    before = {path.name: path.stat().st_mtime_ns for path in [telco, *telco.iterdir()]}
    load_model(telco)
    assert {path.name: path.stat().st_mtime_ns for path in [telco, *telco.iterdir()]} == before
