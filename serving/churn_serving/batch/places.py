"""Where a file lies: on a disk or in an S3 store. Any process can open it, and read from any byte on."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from churn_serving.errors import DataError

if TYPE_CHECKING:
    from obstore import ObjectMeta

    from churn_serving.store import Store

S3 = "s3://"

_READ_AHEAD = 4 << 20  # bytes a request to a store: a few a second are no load, and a chunk waits for one


class Place(Protocol):
    """A file to read."""

    @property
    def name(self) -> str:
        """Its last part."""

    @property
    def suffix(self) -> str:
        """Of the name, with the dot."""

    def size(self) -> int:
        """Bytes."""

    def version(self) -> str:
        """Differs when it is another file, or the same one changed."""

    def open(self) -> io.BufferedReader:
        """Raise DataError where it cannot be read."""


@dataclass(frozen=True)
class LocalFile:
    """A file on a disk."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def suffix(self) -> str:
        return self.path.suffix

    def size(self) -> int:
        return self.path.stat().st_size

    def version(self) -> str:
        found = self.path.stat()
        return f"{self.path.resolve()} {found.st_size} {found.st_mtime_ns}"

    def open(self) -> io.BufferedReader:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}") from None


@dataclass(frozen=True)
class StoredFile:
    """An object of an S3 bucket, as it was when it was listed: one that changes meanwhile is refused."""

    bucket: str
    key: str
    bytes: int
    tag: str
    changed: str

    def __str__(self) -> str:
        return f"{S3}{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.key).suffix

    def size(self) -> int:
        return self.bytes

    def version(self) -> str:
        return f"{self} {self.bytes} {self.tag} {self.changed}"

    def open(self) -> io.BufferedReader:
        return io.BufferedReader(_Ranges(self), _READ_AHEAD)


class _Ranges(io.RawIOBase):
    """Reads an object by ranges, so that a connection that was cut costs one of them."""

    def __init__(self, place: StoredFile) -> None:
        self._place = place
        self._store = open_bucket(place.bucket)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._place.bytes}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        import obstore

        count = min(len(buffer), self._place.bytes - self._at)
        if count <= 0:
            return 0
        options: Any = {"range": (self._at, self._at + count)}
        if self._place.tag:  # a store need not give one
            options["if_match"] = self._place.tag
        with _told(str(self._place)):
            content = obstore.get(self._store, self._place.key, options=options).bytes()
        buffer[: len(content)] = memoryview(content)
        self._at += len(content)
        return len(content)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What a store says becomes a DataError that names the file."""
    from obstore.exceptions import BaseError

    from churn_serving.store import first_line

    try:
        yield
    except (BaseError, OSError) as error:
        raise DataError(f"{name}: the store says: {first_line(error)}") from None


def open_bucket(bucket: str) -> "Store":
    """The bucket, by the usual AWS_* variables. No request is made."""
    from churn_serving.store import open_store

    return open_store(f"{S3}{bucket}", os.environ)


def list_stored(bucket: str, prefix: str) -> list[StoredFile]:
    """The objects whose key begins so, in the order of their keys.

    Raises:
        DataError: The store does not tell.
    """
    import obstore

    with _told(f"{S3}{bucket}/{prefix}"):
        pages = obstore.list(open_bucket(bucket), _folder(prefix))
        found = [each for page in pages for each in page]
    kept = [_stored(bucket, each) for each in found if each["path"].startswith(prefix)]
    return sorted(kept, key=lambda place: place.key)


def _stored(bucket: str, found: "ObjectMeta") -> StoredFile:
    changed = found["last_modified"].isoformat()
    return StoredFile(bucket, found["path"], found["size"], found["e_tag"] or "", changed)


def _folder(prefix: str) -> str | None:
    """A store lists by whole parts of a path."""
    return prefix.rpartition("/")[0] or None


def upload(path: Path, uri: str) -> None:
    """Put a file in a bucket.

    Raises:
        DataError: The store does not take it.
    """
    import obstore

    bucket, _, key = uri.removeprefix(S3).partition("/")
    with _told(uri):
        obstore.put(open_bucket(bucket), key, path)
