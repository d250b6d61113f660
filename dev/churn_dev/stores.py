"""Stores for the tests: a real S3 server and a real HTTPS server over a directory, on this machine."""

import http.server
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from churn_dev import tools
from churn_dev.kubectl import wait_until
from churn_dev.ports import free_port, listens

S3_KEYS = {"AWS_ACCESS_KEY_ID": "churn", "AWS_SECRET_ACCESS_KEY": "churn-secret"}


class TokenHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files to whoever sends the bearer token."""

    token = "correct horse"  # noqa: S105 - of a test's own server

    def do_GET(self) -> None:
        if self.headers["authorization"] == f"Bearer {self.token}":
            super().do_GET()
        else:
            self.send_error(401)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def write_certificate(path: Path, address: str) -> None:
    """Writes key and certificate of an IP address as one PEM; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))


@contextmanager
def https_store(
    root: Path, address: str, certificate: Path, handler: type[TokenHandler] = TokenHandler
) -> Iterator[str]:
    """URL of an HTTPS server over `root` that runs while the block does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = http.server.ThreadingHTTPServer((address, 0), lambda *each: handler(*each, directory=str(root)))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://{address}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def s3_store(root: Path, address: str) -> Iterator[Mapping[str, str]]:
    """AWS_* settings of an S3 server over `root`, whose folders are its buckets, while the block runs."""
    port = free_port(address)
    metadata = root.with_name(f"metadata-of-{root.name}")  # a name that begins like the root's is refused
    metadata.mkdir()
    keys = {
        "ROOT_ACCESS_KEY": S3_KEYS["AWS_ACCESS_KEY_ID"],
        "ROOT_SECRET_KEY": S3_KEYS["AWS_SECRET_ACCESS_KEY"],
    }
    arguments = ["--port", f"{address}:{port}", "posix", "--sidecar", str(metadata), str(root)]
    command = [str(tools.path("versitygw")), *arguments]
    with subprocess.Popen(command, env=os.environ | keys, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listens(address, port), "the S3 server")
            yield S3_KEYS | {"AWS_ENDPOINT_URL": f"http://{address}:{port}", "AWS_REGION": "us-east-1"}
        finally:
            process.terminate()
