"""Fetches a bundle from an object store or a web server: SHA256SUMS first, then exactly the files it lists.

Nothing is written before it has been verified, and SHA256SUMS is written last, so that whoever looks at the
directory sees a whole bundle or none.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

from churn_serving.bundle import sums
from churn_serving.bundle.write import check_target, write_files
from churn_serving.errors import BundleIncompleteError, BundleTooLargeError, DataError, FetchFailedError
from churn_serving.store import Store, first_line, open_store

_CHUNK_BYTES = 1 << 20


def fetch_bundle(
    uri: str, digest: str, out: Path, *, max_bytes: int | None = None, environ: Mapping[str, str] = os.environ
) -> None:
    """Fetch the bundle under `uri` into `out`.

    Args:
        uri: `s3://bucket/prefix` or `https://host/prefix`, a directory that holds the bundle's files.
        digest: The digest that it must have.
        out: Written only when everything is verified.
        max_bytes: Cap on all files together; None leaves each file's own.
        environ: AWS_* for S3, CHURN_FETCH_TOKEN for https, SSL_CERT_FILE with the certificates of a private
            authority.

    Raises:
        FetchFailedError: The store does not give a file.
        BundleError: What it gives is not the bundle with this digest.
    """
    store = open_store(uri, environ)
    files = {sums.SUMS: _get(store, sums.SUMS, sums.MAX_BYTES[sums.SUMS])}
    sums.check_digest(files[sums.SUMS], digest)
    left = sum(sums.MAX_BYTES.values()) if max_bytes is None else max_bytes
    for name, sha256 in sums.parse_sums(files[sums.SUMS]).items():
        files[name] = _get(store, name, min(sums.MAX_BYTES[name], left))
        left -= len(files[name])
        sums.check_file(name, files[name], sha256)
    try:
        check_target(out)
        write_files(out, files)
    except DataError as error:
        raise FetchFailedError(str(error)) from None
    except OSError as error:
        raise FetchFailedError(f"{out} cannot be written: {error.strerror}") from None


def _get(store: Store, name: str, cap: int) -> bytes:
    content = bytearray()
    try:
        result = obstore.get(store, name)
        for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
            content += chunk
            if len(content) > cap:  # counted as it comes: a length that the server tells may lie
                raise BundleTooLargeError(f"{name} is larger than the {cap:,} bytes left for it")
    except (NotFoundError, FileNotFoundError):
        raise BundleIncompleteError(f"{name} is not there") from None
    except (UnauthenticatedError, PermissionDeniedError):
        raise FetchFailedError(f"{name}: the store refuses these credentials") from None
    except (BaseError, OSError) as error:
        raise FetchFailedError(f"{name} cannot be fetched: {first_line(error)}") from None
    return bytes(content)
