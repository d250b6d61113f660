"""Writes a bundle: all of it or nothing. The same content gives the same bytes and so the same digest."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from churn_serving.bundle import sums
from churn_serving.bundle.schema import GoldenRow, Manifest, Reference
from churn_serving.errors import DataError


def build_files(
    *, model: bytes, manifest: Manifest, golden: Sequence[GoldenRow], reference: Reference, card: str
) -> dict[str, bytes]:
    """Each file's bytes by name, SHA256SUMS included."""
    encode = msgspec.json.Encoder().encode
    files = {
        sums.MODEL: model,
        sums.MANIFEST: msgspec.json.format(encode(manifest), indent=2) + b"\n",
        sums.GOLDEN: b"".join(encode(row) + b"\n" for row in golden),
        sums.REFERENCE: msgspec.json.format(encode(reference), indent=2) + b"\n",
        sums.CARD: card.encode(),
    }
    return files | {sums.SUMS: sums.build_sums(files)}


def check_target(directory: Path) -> None:
    """Raise DataError where writing here would destroy something that is no bundle."""
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise DataError(f"{directory} is no directory; choose another --out")
    if directory.is_dir() and any(directory.iterdir()) and not (directory / sums.SUMS).is_file():
        raise DataError(f"{directory} holds something that is no bundle; choose another --out")


def write_files(directory: Path, files: dict[str, bytes]) -> None:
    """Put `files` in place of whatever bundle `directory` held.

    SHA256SUMS goes first and comes last: a reader in between finds no bundle, never a mixture of two. The
    directory itself stays (it may be a mount point).
    """
    check_target(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / sums.SUMS).unlink(missing_ok=True)
    for name in sorted(files, key=lambda name: name == sums.SUMS):
        partial = directory / f".{name}.partial"
        partial.write_bytes(files[name])
        partial.replace(directory / name)
