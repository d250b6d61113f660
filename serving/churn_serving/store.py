"""Opens a store by its URI: S3 by the usual AWS_* variables, or a web server."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import HTTPStore, S3Store

from churn_serving.errors import FetchFailedError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

TOKEN = "CHURN_FETCH_TOKEN"  # noqa: S105 (the variable's name)

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


def _read_certificates(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FetchFailedError(f"SSL_CERT_FILE {path} cannot be read: {error.strerror}") from None


def first_line(error: Exception) -> str:
    """What a store says: the rest is its own debugging."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
