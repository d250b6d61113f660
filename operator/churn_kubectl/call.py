"""One request to a replica through a tunnel: with TLS and a key where they are asked for."""

import http.client
import os
import socket
import ssl
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from churn_kubectl.cluster import Cluster
from churn_kubectl.errors import ChurnError

SECONDS = 30
KEY_ENV = "CHURN_API_KEY"


@dataclass(frozen=True)
class Caller:
    """Who asks, and whom they trust.

    Attributes:
        headers: Sent as they are.
        key: An API key or a token.
        trusted: Certificates to trust, PEM; None: those that this machine trusts.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)
    trusted: Path | None = None


def read_key(cluster: Cluster, file: Path | None, secret: str | None) -> str | None:
    """The key of a file, else of a Secret (`NAME` or `NAME/FIELD`), else of the environment; None without.

    Raises:
        ChurnError: It is not there.
    """
    if file is not None:
        try:
            return file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ChurnError(f"--key-file {file} cannot be read: {error}") from None
    if secret is None:
        return os.environ.get(KEY_ENV)
    name, _, field_name = secret.partition("/")
    found = cluster.get("secret", name)
    data = (found or {}).get("data") or {}
    wanted = field_name or "key"
    if wanted not in data:
        there = f"it has {', '.join(sorted(data)) or 'nothing'}" if found else "there is no such Secret"
        raise ChurnError(f"--key-secret {secret}: {there}; write NAME/FIELD for a field other than `key`")
    return b64decode(data[wanted]).decode().strip()


def post(address: tuple[str, int], name: str, body: bytes, caller: Caller, *, tls: bool) -> tuple[int, bytes]:
    """Status and body of what `/predict` answers.

    Args:
        address: The tunnel's end on this machine.
        name: Of whom is asked: in the Host header, and with TLS in the certificate.
        body: JSON.
        caller: Who asks.
        tls: Whether the replica speaks it.

    Raises:
        ChurnError: There is no answer, or the certificate is not to be trusted.
    """
    headers = {"Content-Type": "application/json", **caller.headers}
    if caller.key and not any(each.lower() == "authorization" for each in headers):
        headers["Authorization"] = f"Bearer {caller.key}"
    context = _trust(caller.trusted) if tls else None
    try:
        with _connected(address, name, context) as connection:
            connection.request("POST", "/predict", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
    except ssl.SSLCertVerificationError as error:
        raise ChurnError(
            f"the certificate of {name} is not trusted: {error.verify_message}; give the one that signed it "
            "with --ca-file, or the name that it has with --server-name"
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ChurnError(f"the replica does not answer: {error}") from None


def _trust(trusted: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=trusted)
    except (OSError, ssl.SSLError) as error:
        raise ChurnError(f"--ca-file {trusted} cannot be used: {error}") from None


@contextmanager
def _connected(
    address: tuple[str, int], name: str, context: ssl.SSLContext | None
) -> Iterator[http.client.HTTPConnection]:
    with socket.create_connection(address, SECONDS) as plain:
        connection = http.client.HTTPConnection(name)
        connection.sock = context.wrap_socket(plain, server_hostname=name) if context else plain
        try:
            yield connection
        finally:
            connection.close()
