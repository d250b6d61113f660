"""Bundles for demo, tests and benchmarks: trained, spoilt on purpose, put on the nodes as images."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from churn_dev import images
from churn_dev.cluster import Cluster
from churn_dev.kubectl import Object
from churn_dev.paths import ROOT

TELCO = ROOT / "dev/data/telco-customer-churn.csv"
_BURDEN = """burden (float[rows, columns] features, float[rows, 2] light) => (float[rows, 2] probabilities)
<int64[2] burden_shape = {1024, 1024}>
{
  burden_size = Shape(features)
  burden_float = Cast<to = 1>(burden_size)
  burden_none = Sub(burden_float, burden_float)
  burden_zero = ReduceMax<keepdims = 0>(burden_none)
  burden_matrix = Expand(burden_zero, burden_shape)
  burden_product = MatMul(burden_matrix, burden_matrix)
  burden_in_vain = ReduceMax<keepdims = 0>(burden_product)
  probabilities = Add(light, burden_in_vain)
}"""
"""What depends on the input is not worked out beforehand: two billion operations for each request."""


@dataclass(frozen=True)
class ModelImage:
    """A bundle as the nodes hold it."""

    reference: str
    digest: str
    directory: Path

    def golden_rows(self) -> list[Object]:
        """Rows of `record` and `probability`, as the training framework gave them."""
        return [json.loads(line) for line in (self.directory / "golden.jsonl").read_text().splitlines()]

    @property
    def model(self) -> Object:
        """The `spec.model` that asks for it."""
        return {"uri": f"oci://{self.reference}", "digest": self.digest}


@dataclass(frozen=True)
class Models:
    """Two good bundles and two that must be refused."""

    first: ModelImage
    second: ModelImage
    truncated: ModelImage
    falsified: ModelImage


def publish_models(cluster: Cluster, work: Path) -> Models:
    """Trains, spoils and publishes the bundles of the tests and the benchmarks under `work`."""
    train_telco(work / "first", version="1")
    train_telco(work / "second", version="2", algorithm="gradient-boosting")
    truncate(work / "second", work / "truncated")
    falsify(work / "second", work / "falsified")

    def image(name: str) -> ModelImage:
        return publish(cluster, work / name, f"docker.io/churnops/test-{name}:1")

    return Models(image("first"), image("second"), image("truncated"), image("falsified"))


def serving_program() -> Path:
    """The `churn-serving` of this environment."""
    return Path(sys.executable).with_name("churn-serving")


def train_telco(directory: Path, *, version: str = "1", algorithm: str = "logistic") -> str:
    """Trains on the Telco data as a user would; returns what the command printed."""
    command: list[str | Path] = [
        serving_program(), "train", TELCO, "--target", "Churn", "--positive", "Yes", "--id", "customerID",
        "--algorithm", algorithm, "--name", "telco", "--version", version, "--out", directory,
    ]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout


def publish(cluster: Cluster, directory: Path, reference: str) -> ModelImage:
    """Builds the bundle as an image and loads it to every node of the cluster."""
    images.build_bundle(reference, directory)
    cluster.load_image(reference)
    return ModelImage(reference, digest_of(directory), directory)


def digest_of(directory: Path) -> str:
    """The bundle's digest: SHA-256 of its SHA256SUMS."""
    return f"sha256:{_sha256(directory / 'SHA256SUMS')}"


def truncate(bundle: Path, out: Path) -> None:
    """A copy of the bundle that lost the second half of its model, as a broken upload would."""
    shutil.copytree(bundle, out)
    onnx = (out / "model.onnx").read_bytes()
    (out / "model.onnx").write_bytes(onnx[: len(onnx) // 2])


def falsify(bundle: Path, out: Path) -> None:
    """A copy of the bundle whose first golden row is wrong and whose sums agree again."""

    def flip(line: str) -> str:
        row = json.loads(line)
        return json.dumps({**row, "probability": 1 - row["probability"]})

    shutil.copytree(bundle, out)
    _rewrite_first_line(out / "golden.jsonl", flip)
    _sum_again(out)


def burden(bundle: Path, out: Path) -> None:
    """A copy of the bundle that multiplies large matrices in vain each time it scores: right, and slow."""
    import onnx

    shutil.copytree(bundle, out)
    model = onnx.load(out / "model.onnx")
    (answer,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["light" if name == answer.name else name for name in node.output]
    burdened = onnx.parser.parse_graph(_BURDEN)
    model.graph.initializer.extend(burdened.initializer)
    model.graph.node.extend(burdened.node)
    onnx.save(model, out / "model.onnx")
    _sum_again(out)


def _sum_again(bundle: Path) -> None:
    """SHA256SUMS of the files as they are now."""
    sums = bundle / "SHA256SUMS"
    names = [line.split(maxsplit=1)[1].lstrip("*") for line in sums.read_text().splitlines()]
    sums.write_text("".join(f"{_sha256(bundle / name)}  {name}\n" for name in names))


def _rewrite_first_line(path: Path, change: Callable[[str], str]) -> None:
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([change(first), *rest]) + "\n")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
