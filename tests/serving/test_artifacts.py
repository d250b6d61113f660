"""What may be wrong with an artifact, case by case (E1 to E11), and where each is shown.

E1   not there, refused, cut off, moved, slow: here and in test_fetch
E2   cut, flipped, empty, a page instead of a model: here, test_fetch and test_bundle
E3   too large, paths in its list, a list without end: here, test_fetch and test_bundle; nothing is unpacked
E4   a pickle: here; no code of a bundle is run, so there is no sandbox
E5   a forged skops file: here, for `export`; a bundle holds none
E6   signatures: bundles have none, the pinned digest stands for them: here
E7   other versions of libraries: here
E8   another schema, reversed classes, no classifier: here, test_bundle and test_export
E9   other bytes under the same address: test_fetch and here
E10  no numbers, too slow: here and test_bundle
E11  a disk that is full or cannot be written: here and test_fetch
"""

import json
import os
import pickle
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
import sklearn
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skops import io

from churn_dev.stores import TokenHandler, https_store
from churn_serving.bundle import sums
from churn_serving.errors import BundleError, DataError, FetchFailedError
from churn_serving.fetch import fetch_bundle
from churn_serving.model import load_model
from churn_serving.scorer import INPUT, OUTPUT
from churn_serving.train.loading import load_pipeline

from .fetching import DIGEST, Misbehaving, reason_of

Web = tuple[str, Path]


def relist(bundle: Path) -> None:
    """Make SHA256SUMS fit the files again."""
    listed = {each: (bundle / each).read_bytes() for each in sums.LISTED}
    (bundle / sums.SUMS).write_bytes(sums.build_sums(listed))


def forge(bundle: Path, name: str, content: bytes) -> str:
    """Change a file and list it again, as somebody who forges a bundle would; the reason of the refusal."""
    (bundle / name).write_bytes(content)
    relist(bundle)
    with pytest.raises(BundleError) as refused:
        load_model(bundle)
    return refused.value.reason


def test_e1_a_download_that_is_cut_off_leaves_nothing(web: Web, trusted: dict[str, str], tmp_path: Path):
    assert reason_of(f"{web[0]}/cut", tmp_path / "out", trusted) == "FetchFailed"


def test_e1_a_slow_store_is_waited_for(web: Web, trusted: dict[str, str], tmp_path: Path):
    fetch_bundle(f"{web[0]}/slow", DIGEST, tmp_path / "out", environ=trusted)
    assert load_model(tmp_path / "out", DIGEST).manifest.name == "telco"


def test_e1_a_store_that_moved_does_not_hand_the_token_on(
    web: Web, trusted: dict[str, str], tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    class Elsewhere(Misbehaving):
        authorizations: list[str | None] = []  # noqa: RUF012

    with https_store(web[1], "127.0.0.1", certificate, Elsewhere) as url:
        monkeypatch.setattr(Misbehaving, "elsewhere", url)
        assert reason_of(f"{web[0]}/moved", tmp_path / "out", trusted) == "FetchFailed"
    assert set(Elsewhere.authorizations) == {None}
    assert f"Bearer {TokenHandler.token}" in Misbehaving.authorizations


def test_e2_an_empty_file_is_refused_before_it_is_parsed(web: Web, trusted: dict[str, str], tmp_path: Path):
    assert reason_of(f"{web[0]}/empty", tmp_path / "out", trusted) == "FileMismatch"


def test_e3_a_list_of_a_million_files_is_cut_at_its_cap(web: Web, trusted: dict[str, str], tmp_path: Path):
    with (web[1] / "telco" / sums.SUMS).open("a") as file:
        file.writelines(f"{'0' * 64}  file{n}\n" for n in range(20_000))
    assert reason_of(f"{web[0]}/telco", tmp_path / "out", trusted) == "BundleTooLarge"


def test_e3_an_archive_is_no_model(telco: Path):
    with zipfile.ZipFile(telco.parent / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped", b"\0" * (64 << 20))
    assert forge(telco, sums.MODEL, (telco.parent / "bomb.zip").read_bytes()) == "OnnxInvalid"
    assert not (telco.parents[1] / "escaped").exists()


class Evil:
    """Unpickled, it writes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.proof, "code was run")


def pickles(proof: Path) -> dict[str, bytes]:
    evil = pickle.dumps(Evil(proof))
    joblib.dump(np.array([Evil(proof)], dtype=object), proof.parent / "nested")
    return {
        "reduce": evil,
        "nested in an array": (proof.parent / "nested").read_bytes(),
        "compressed": zlib.compress(evil),
        "behind the head of a zip file": b"PK\x03\x04" + evil,
    }


KINDS = ["reduce", "nested in an array", "compressed", "behind the head of a zip file"]


@pytest.mark.parametrize("kind", KINDS)
def test_e4_a_pickle_in_place_of_the_model_is_not_run(telco: Path, tmp_path: Path, kind: str):
    proof = tmp_path / "proof"
    assert forge(telco, sums.MODEL, pickles(proof)[kind]) == "OnnxInvalid"
    assert not proof.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_e4_a_pickle_given_to_export_is_not_run(tmp_path: Path, kind: str):
    proof = tmp_path / "proof"
    (tmp_path / "own.skops").write_bytes(pickles(proof)[kind])
    with pytest.raises(DataError):
        load_pipeline(tmp_path / "own.skops", trust_pickle=False)
    assert not proof.exists()


def rewrite_schema(path: Path, **changes: Any) -> Path:
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files["schema.json"]) | changes
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {"schema.json": json.dumps(schema).encode()}).items():
            archive.writestr(name, content)
    return path


def test_e5_a_type_that_the_file_brings_is_not_trusted(tmp_path: Path):
    path = tmp_path / "own.skops"
    io.dump(make_pipeline(LogisticRegression()), path)
    rewrite_schema(path, __class__="Popen", __module__="subprocess")
    with pytest.raises(DataError, match=r"not trusted: subprocess\.Popen|no whole skops file"):
        load_pipeline(path, trust_pickle=False)


def test_e5_a_schema_of_nonsense_is_refused(tmp_path: Path):
    path = tmp_path / "own.skops"
    io.dump(make_pipeline(LogisticRegression()), path)
    with pytest.raises(DataError, match="no whole skops file"):
        load_pipeline(rewrite_schema(path, __loader__="NoSuchNode"), trust_pickle=False)


@pytest.mark.parametrize("child", [1_000_000, 0])
def test_e5_a_tree_that_leads_out_of_itself_or_round_in_it_is_refused(tmp_path: Path, child: int):
    forest = RandomForestClassifier(2).fit(np.eye(20), np.arange(20) % 2)
    forest.estimators_[1].tree_.children_left[0] = child
    io.dump(make_pipeline(forest), tmp_path / "own.skops")
    with pytest.raises(DataError, match="nodes lead out of it"):
        load_pipeline(tmp_path / "own.skops", trust_pickle=False)


def test_e6_a_signature_beside_a_bundle_does_not_stand_for_the_pin(telco: Path):
    (telco / "SHA256SUMS.sig").write_bytes(b"signed by somebody")
    (telco / "MODELCARD.md").write_text("Trust me.")
    relist(telco)
    with pytest.raises(BundleError) as refused:
        load_model(telco, DIGEST)
    assert refused.value.reason == "DigestMismatch"


def test_e7_a_bundle_made_with_other_libraries_is_held_to_its_golden_rows(telco: Path):
    """The graph needs none of them; whether it still says the same is measured at load."""
    manifest = json.loads((telco / sums.MANIFEST).read_text())
    manifest["libraries"] = {"python": "2.7", "scikit-learn": "0.18"}
    (telco / sums.MANIFEST).write_text(json.dumps(manifest))
    relist(telco)
    assert load_model(telco).golden_deviation < 1e-5


def test_e7_a_pipeline_saved_by_another_scikit_learn_is_refused(tmp_path: Path):
    path = tmp_path / "own.pickle"
    content = pickle.dumps(LogisticRegression().fit(np.eye(20), np.arange(20) % 2))
    path.write_bytes(content.replace(sklearn.__version__.encode(), b"1.0.0"))
    with pytest.raises(DataError, match=r"saved by scikit-learn 1\.0\.0, here is"):
        load_pipeline(path, trust_pickle=True)


def model_of(columns: int, output: onnx.NodeProto, *constants: onnx.TensorProto) -> bytes:
    graph = helper.make_graph(
        [output],
        "g",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 2])],
        list(constants),
    )
    opset = [helper.make_opsetid("", 21)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString())


def matmul(columns: int, value: float) -> bytes:
    weights = numpy_helper.from_array(np.full((columns, 2), value, dtype=np.float32), "w")
    return model_of(columns, helper.make_node("MatMul", [INPUT, "w"], [OUTPUT]), weights)


def test_e8_a_graph_of_other_columns_is_refused(telco: Path):
    assert forge(telco, sums.MODEL, matmul(18, 1.0)) == "OnnxInvalid"


def test_e9_the_pin_wins_over_what_the_address_gives_now(telco: Path):
    """The same directory, another model: as a tag that was pushed again."""
    load_model(telco, DIGEST)
    (telco / sums.MODEL).write_bytes(matmul(19, 1.0))
    relist(telco)
    with pytest.raises(BundleError) as refused:
        load_model(telco, DIGEST)
    assert refused.value.reason == "DigestMismatch"


def test_e10_a_graph_that_gives_no_numbers_is_refused(telco: Path):
    assert forge(telco, sums.MODEL, matmul(19, float("nan"))) == "GoldenMismatch"


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from churn_serving.errors import FetchFailedError
from churn_serving.fetch import fetch_bundle
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
try:
    fetch_bundle(sys.argv[1], sys.argv[2], Path("out"))
except FetchFailedError as error:
    print(error)
"""


def test_e11_a_disk_that_is_full_leaves_no_bundle(web: Web, trusted: dict[str, str], tmp_path: Path):
    """A limit on the size of files stands for the disk: writing stops in the middle of one."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, f"{web[0]}/telco", DIGEST],
        cwd=tmp_path, env=os.environ | trusted, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "out cannot be written: File too large\n"
    assert not (tmp_path / "out" / sums.SUMS).exists()


def test_e11_a_place_that_cannot_be_written_says_so(web: Web, trusted: dict[str, str]):
    """/proc takes no directory, not even from root."""
    with pytest.raises(FetchFailedError, match="cannot be written"):
        fetch_bundle(f"{web[0]}/telco", DIGEST, Path("/proc/bundle"), environ=trusted)
