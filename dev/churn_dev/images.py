"""The images that the cluster runs, built once for each state of their inputs, and as files for the nodes."""

import hashlib
import json
import re
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from churn_dev import base, builder, tools
from churn_dev.console import step
from churn_dev.paths import ROOT, cache_dir, locked

PAUSE = "localhost/pause:dev"

OPERATOR = f"docker.io/churnops/churn-operator:{version('churn-operator')}"
SERVING = f"docker.io/churnops/churn-serving:{version('churn-serving')}"
SECOND_SERVING = "docker.io/churnops/test-serving-second:1"
OPERATOR_BEFORE = "docker.io/churnops/test-operator:before"
SAMPLE = "docker.io/churnops/telco-bundle:1"
"""The model image that the samples name."""

PRODUCT = {OPERATOR: "Dockerfile.operator", SERVING: "Dockerfile.serving"}
"""Images of the product and their Dockerfiles at the root; operator first."""
_COPY = re.compile(r"^(?:COPY|ADD)\s+(?!--from)(.+)\s\S+$", re.MULTILINE)
_IGNORED = ("__pycache__", ".egg-info", "dist")


@dataclass(frozen=True)
class Archive:
    """An image as a file in OCI layout.

    Attributes:
        name: full name with its tag.
        path: the file.
        digest: of the manifest, `sha256:…`: what a reference by digest names.
    """

    name: str
    path: Path
    digest: str

    @property
    def by_digest(self) -> str:
        """The reference that only this very image answers to."""
        repository, _, tag = self.name.rpartition(":")
        return f"{self.name if '/' in tag else repository}@{self.digest}"


def build_product() -> list[str]:
    """Builds the product's images where something that goes into them changed; returns their names."""
    base_inputs = "" if builder.docker_answers() else base.ensure()
    for name, file in PRODUCT.items():
        dockerfile = (ROOT / file).read_text()
        _ensure(name, dockerfile, ROOT, content_key(_copied(dockerfile), base_inputs, dockerfile))
    return list(PRODUCT)


def build_second_serving() -> str:
    """Builds the serving image under another name and digest: what a rollout of the image rolls to."""
    dockerfile = f"FROM {SERVING}\nLABEL dev.churnops.second=true\n"
    with tempfile.TemporaryDirectory() as nothing:
        _ensure(
            SECOND_SERVING, dockerfile, Path(nothing), content_key([], dockerfile, builder.image_id(SERVING))
        )
    return SECOND_SERVING


def build_operator_before(wheel: Path) -> str:
    """Builds the image of an earlier operator: its wheel goes before the package of today's image."""
    dockerfile = f"FROM {OPERATOR}\nCOPY {wheel.name} /before.whl\nENV PYTHONPATH=/before.whl\n"
    inputs = content_key([wheel], dockerfile, builder.image_id(OPERATOR))
    _ensure(OPERATOR_BEFORE, dockerfile, wheel.parent, inputs)
    return OPERATOR_BEFORE


def build_bundle(name: str, directory: Path) -> None:
    """Builds a model image: the bundle's files at the root and nothing else."""
    dockerfile = "FROM scratch\nCOPY . /\n"
    _ensure(name, dockerfile, directory, content_key([directory], dockerfile))


def pause() -> Archive:
    """The image of the container that holds each pod's namespaces."""
    directory = tools.path("pause").parent
    dockerfile = 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n'
    _ensure(PAUSE, dockerfile, directory, content_key([], tools.family("pause").key, dockerfile))
    return archive(PAUSE)


def archive(name: str) -> Archive:
    """The image of the builder's store as a file, written once for each state of it.

    Raises:
        DevError: there is no such image.
    """
    directory = cache_dir() / "images"
    prefix = re.sub(r"[^a-z0-9.]+", "-", name)
    path = directory / f"{prefix}-{builder.image_id(name)[:12]}.tar"
    with locked(directory / f"{prefix}.lock"):
        if not path.exists():
            for earlier in directory.glob(f"{prefix}-*.tar"):
                earlier.unlink()
            partial = path.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            builder.save(name, partial)
            partial.rename(path)
    return Archive(name, path, _digest(path))


def content_key(paths: Iterable[Path], *texts: str) -> str:
    """Hash of the texts and of every file at or below the paths, by content and place."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and not any(part.endswith(_IGNORED) for part in file.parts):
                digest.update(f"{file.relative_to(path.parent)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _ensure(name: str, dockerfile: str, context: Path, inputs: str) -> None:
    with locked(cache_dir() / "build.lock"):
        if builder.built_from(name) != inputs:
            with step(f"building image {name}"):
                builder.build(name, dockerfile, context, inputs=inputs)


def _copied(dockerfile: str) -> list[Path]:
    return [ROOT / source for sources in _COPY.findall(dockerfile) for source in sources.split()]


def _digest(path: Path) -> str:
    with tarfile.open(path) as opened:
        index = opened.extractfile("index.json")
        if index is None:
            raise ValueError(f"{path} is no archive in OCI layout")
        digest: str = json.load(index)["manifests"][0]["digest"]
    return digest
