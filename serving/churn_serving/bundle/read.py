"""Reads a bundle from a directory and refuses it with a typed reason, in a fixed order.

Sizes, then the pinned digest, then each file against SHA256SUMS, then the schema. Each file is read once
and the bytes that were checked are the bytes that are used, so that a volume changing underneath cannot
slip anything in.

The directory may be read-only and may hold more: `lost+found` on a fresh volume, `..data` on a mounted
ConfigMap, hidden files. What SHA256SUMS cannot list is never opened.
"""

import stat
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from churn_serving.bundle import sums
from churn_serving.bundle.schema import (
    FORMAT_VERSION,
    MIN_GOLDEN_ROWS,
    GoldenRow,
    Manifest,
    Reference,
    check_reference,
)
from churn_serving.errors import (
    BundleIncompleteError,
    BundleTooLargeError,
    FileMismatchError,
    SchemaInvalidError,
)

T = TypeVar("T")


class Bundle(NamedTuple):
    """A bundle whose bytes and schema are verified. The model itself is not loaded yet."""

    digest: str
    manifest: Manifest
    golden: list[GoldenRow]
    reference: Reference
    model: bytes


def read_bundle(directory: Path, digest: str | None = None) -> Bundle:
    """Read and verify the bundle in `directory`.

    Args:
        directory: Holds the files named in `churn_serving.bundle.sums`.
        digest: The digest it must have, `sha256:…`; None accepts any.

    Raises:
        BundleError: Its subclass says what is wrong; its message, where.
    """
    if not directory.is_dir():
        raise BundleIncompleteError(f"{directory} is no directory")
    _check_sizes(directory)
    listing = read_capped(directory, sums.SUMS)
    if digest is not None:
        sums.check_digest(listing, digest)
    listed = sums.parse_sums(listing)
    files = {name: read_capped(directory, name) for name in listed}
    for name, sha256 in listed.items():
        sums.check_file(name, files[name], sha256)
    return Bundle(sums.digest_of(listing), *_parse(files), files[sums.MODEL])


def read_capped(directory: Path, name: str) -> bytes:
    """The file's bytes.

    Raises:
        BundleTooLargeError: It is larger than its cap, though it may have looked smaller.
    """
    cap = sums.MAX_BYTES[name]
    try:
        with (directory / name).open("rb") as file:
            content = file.read(cap + 1)
    except OSError as error:
        raise BundleIncompleteError(f"{name} cannot be read: {error.strerror}") from None
    if len(content) > cap:
        raise _too_large(name)
    return content


def _check_sizes(directory: Path) -> None:
    root = directory.resolve()
    for name, cap in sums.MAX_BYTES.items():
        path = directory / name
        try:
            target = path.resolve(strict=True)
            found = target.stat()
        except OSError:
            raise BundleIncompleteError(f"{name} is missing") from None
        # A link inside the directory is how ConfigMap volumes work; one that leaves it would serve
        # another's file.
        if not target.is_relative_to(root):
            raise FileMismatchError(f"{name} is a link that leaves the bundle")
        if not stat.S_ISREG(found.st_mode):  # a pipe would block the reader for ever
            raise FileMismatchError(f"{name} is no regular file")
        if found.st_size > cap:
            raise _too_large(name)


def _too_large(name: str) -> BundleTooLargeError:
    return BundleTooLargeError(
        f"{name} is larger than the {sums.MAX_BYTES[name]:,} bytes a bundle's may have"
    )


def _parse(files: dict[str, bytes]) -> tuple[Manifest, list[GoldenRow], Reference]:
    version = _decode(files[sums.MANIFEST], _Versioned, sums.MANIFEST).format_version
    if version != FORMAT_VERSION:
        raise SchemaInvalidError(f"{sums.MANIFEST} has format {version}; this server reads {FORMAT_VERSION}")
    manifest = _decode(files[sums.MANIFEST], Manifest, sums.MANIFEST)
    golden = [_decode(line, GoldenRow, sums.GOLDEN) for line in files[sums.GOLDEN].splitlines()]
    if len(golden) < MIN_GOLDEN_ROWS:
        raise SchemaInvalidError(
            f"{sums.GOLDEN} has {len(golden)} rows; at least {MIN_GOLDEN_ROWS} are needed"
        )
    reference = _decode(files[sums.REFERENCE], Reference, sums.REFERENCE)
    try:
        check_reference(manifest, reference)
    except ValueError as error:
        raise SchemaInvalidError(f"{sums.REFERENCE}: {error}") from None
    return manifest, golden, reference


class _Versioned(msgspec.Struct):
    format_version: int


def _decode(content: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:
        raise SchemaInvalidError(f"{name}: {error}") from None
