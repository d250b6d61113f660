"""SHA256SUMS: the list of a bundle's files and, as its own SHA-256, the bundle's digest."""

import hashlib
import re
from collections.abc import Mapping

from churn_serving.errors import BundleIncompleteError, DigestMismatchError, FileMismatchError

SUMS = "SHA256SUMS"
MODEL = "model.onnx"
MANIFEST = "model.json"
GOLDEN = "golden.jsonl"
REFERENCE = "reference.json"
CARD = "MODELCARD.md"

MIB = 1 << 20
# Bytes. Generous for tabular models, small beside a pod's memory: what is larger is not what it says it is.
MAX_BYTES: Mapping[str, int] = {
    SUMS: 64 * 1024,
    MODEL: 512 * MIB,
    MANIFEST: 8 * MIB,
    GOLDEN: 32 * MIB,
    REFERENCE: 8 * MIB,
    CARD: 8 * MIB,
}
LISTED = tuple(sorted(set(MAX_BYTES) - {SUMS}))

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(sums: bytes) -> str:
    """The bundle's digest, `sha256:` and 64 hex digits, from the bytes of SHA256SUMS."""
    return "sha256:" + hashlib.sha256(sums).hexdigest()


def build_sums(files: Mapping[str, bytes]) -> bytes:
    """SHA256SUMS as `sha256sum` writes it over `files`, sorted by name."""
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def check_digest(sums: bytes, pinned: str) -> None:
    """Raise DigestMismatchError unless `pinned` is the digest of these bytes."""
    if not _DIGEST.fullmatch(pinned):
        raise DigestMismatchError(
            f"{pinned[:100]!r} is no digest: write sha256: and 64 hex digits, as `check` prints it"
        )
    found = digest_of(sums)
    if found != pinned:
        raise DigestMismatchError(f"the bundle's digest is {found}, pinned is {pinned}")


def parse_sums(sums: bytes) -> dict[str, str]:
    """The listed SHA-256 by file name.

    Only the names of a bundle's files are let through: a name with a path in it would make whoever writes
    or reads by this list (`fetch` does) leave the bundle's directory.
    """
    listed: dict[str, str] = {}
    for line in sums.decode("utf-8", errors="replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise FileMismatchError(f"{SUMS} has a line that sha256sum does not write: {line[:100]!r}")
        sha256, name = match.groups()
        if name not in LISTED:
            raise FileMismatchError(f"{SUMS} lists {name[:100]!r}, which is no file of a bundle")
        if name in listed:
            raise FileMismatchError(f"{SUMS} lists {name} twice")
        listed[name] = sha256
    missing = [name for name in LISTED if name not in listed]
    if missing:
        raise BundleIncompleteError(f"{SUMS} does not list {', '.join(missing)}")
    return listed


def check_file(name: str, content: bytes, sha256: str) -> None:
    """Raise FileMismatchError unless the file is the one listed."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise FileMismatchError(f"{name} has SHA-256 {found}, {SUMS} lists {sha256}")
