"""The file of API keys: who may ask, by the SHA-256 of their key.

A key has 256 random bits, so nobody finds it by guessing and a plain hash keeps it. A slow one, as for
passwords that people choose, would only make each request slow.
"""

import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from churn_serving.errors import ConfigInvalidError, DataError

MAX_BYTES = 1 << 20  # of a Secret
_BITS = 256

Name = Annotated[str, Meta(pattern="^[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$")]


class ApiKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key.

    Attributes:
        name: Who has it: told in logs and metrics.
        sha256: Of the key's characters, in hex digits.
        rate: Requests a second that it is good for, of each server; unlimited if not given.
        burst: Requests that it may send at once after a pause; a second's worth if not given.
    """

    name: Name
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    rate: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None

    def __post_init__(self) -> None:
        if self.burst is not None and self.rate is None:
            raise ValueError("burst goes with rate")


class _File(Struct, forbid_unknown_fields=True):
    # The names are labels of metrics: their number is bounded here.
    keys: Annotated[list[ApiKey], Meta(max_length=1000)]


def read_keys(path: Path) -> list[ApiKey]:
    """The keys of a file.

    Raises:
        ConfigInvalidError: It is missing, too large or not as described; the message repeats no digest.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigInvalidError(f"the API keys in {path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ConfigInvalidError(f"{path} is larger than {MAX_BYTES} bytes")
    try:
        keys = msgspec.json.decode(content, type=_File).keys
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalidError(f"{path.name}: {error}") from None
    for what in ("name", "sha256"):
        if len({getattr(key, what) for key in keys}) < len(keys):
            raise ConfigInvalidError(f"{path.name}: two keys have the same {what}")
    return keys


def write_keys(path: Path, keys: Sequence[ApiKey]) -> None:
    """Replace the file as a whole; only its owner may read it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(_File(list(keys))), indent=2) + b"\n")
    fresh.replace(path)


def add_key(path: Path, name: str, rate: float | None, burst: int | None) -> str:
    """Add a new key to the file, which is made where there is none.

    Returns:
        The key. It is nowhere else.

    Raises:
        DataError: The name is taken or not a name, or a limit is not one.
        ConfigInvalidError: The file is not one of keys.
    """
    keys = read_keys(path) if path.exists() else []
    if any(key.name == name for key in keys):
        raise DataError(f"{path} has a key called {name}; revoke it, or choose another name")
    secret = f"churn_{secrets.token_urlsafe(_BITS // 8)}"
    given = {
        "name": name,
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "rate": rate,
        "burst": burst,
    }
    try:
        key = msgspec.convert(given, ApiKey)
    except msgspec.ValidationError as error:
        raise DataError(str(error)) from None
    write_keys(path, [*keys, key])
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Take a key out of the file.

    Raises:
        DataError: There is none of that name.
        ConfigInvalidError: The file is not one of keys.
    """
    keys = read_keys(path)
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        raise DataError(f"{path} has no key called {name}")
    write_keys(path, left)
