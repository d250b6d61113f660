"""Fetches a bundle from an object store or a web server: SHA256SUMS first, then exactly the files it lists.

Nothing is written before it has been verified, and SHA256SUMS is written last, so that whoever looks at the
directory sees a whole bundle or none.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import HTTPStore, S3Store

from churn_serving.bundle import sums
from churn_serving.bundle.write import check_target, write_files
from churn_serving.errors import BundleIncompleteError, BundleTooLargeError, DataError, FetchFailedError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

TOKEN = "CHURN_FETCH_TOKEN"  # noqa: S105 (the variable's name)

_CHUNK_BYTES = 1 << 20
# A stalled connection is given up; a slow one may take as long as a large model needs.
_CLIENT: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=15),
    "timeout": timedelta(minutes=15),
    "user_agent": "churn-serving",
}
# The kubelet restarts a failed init container by itself: give up early, so that the reason is seen.
_RETRY: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}

_S3_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
}

Store: TypeAlias = HTTPStore | S3Store


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


def open_store(uri: str, environ: Mapping[str, str]) -> Store:
    """The store behind a URI. No request is made.

    Raises:
        FetchFailedError: The URI is of another kind, or what configures the store is wrong.
    """
    parts = urlsplit(uri)
    options = _CLIENT.copy()
    if certificates := environ.get("SSL_CERT_FILE"):
        options["root_certificate"] = _read_certificates(Path(certificates))
    try:
        if parts.scheme == "s3" and parts.netloc:
            return _s3(parts.netloc, parts.path.strip("/"), options, environ)
        if parts.scheme == "https" and parts.hostname and not parts.username:
            if token := environ.get(TOKEN):
                options["default_headers"] = {"authorization": f"Bearer {token}"}
            return HTTPStore(uri.rstrip("/"), client_options=options, retry_config=_RETRY)
    except (BaseError, ValueError) as error:
        raise FetchFailedError(f"{uri} cannot be opened: {error}") from None
    raise FetchFailedError(f"{uri!r} is neither s3://bucket/prefix nor https://host/prefix")


def _s3(bucket: str, prefix: str, options: "ClientConfig", environ: Mapping[str, str]) -> S3Store:
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    options["allow_http"] = bool(endpoint and endpoint.startswith("http://"))
    config: S3Config = {"endpoint": endpoint} if endpoint else {}
    for name, variables in _S3_VARIABLES.items():
        values = [environ[variable] for variable in variables if environ.get(variable)]
        if values:
            config[name] = values[0]  # type: ignore[literal-required]
    return S3Store(bucket, prefix=prefix or None, config=config, client_options=options, retry_config=_RETRY)


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
        raise FetchFailedError(f"{name} cannot be fetched: {_first_line(error)}") from None
    return bytes(content)


def _read_certificates(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FetchFailedError(f"SSL_CERT_FILE {path} cannot be read: {error.strerror}") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
