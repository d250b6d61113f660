"""A store that misbehaves on request, and what a fetch from it says."""

import contextlib
import time
from pathlib import Path

import pytest

from churn_dev.stores import TokenHandler
from churn_serving.bundle import sums
from churn_serving.errors import ChurnServingError
from churn_serving.fetch import fetch_bundle

from .conftest import SAMPLE

DIGEST = sums.digest_of((SAMPLE / sums.SUMS).read_bytes())


def reason_of(uri: str, out: Path, environ: dict[str, str], digest: str = DIGEST, **options: int) -> str:
    with pytest.raises(ChurnServingError) as refused:
        fetch_bundle(uri, digest, out, environ=environ, **options)
    assert not (out / sums.SUMS).exists()
    return refused.value.reason


class Misbehaving(TokenHandler):
    """Serves files to whoever has the token; what it does depends on the first part of the path."""

    elsewhere = ""
    authorizations: list[str | None] = []  # noqa: RUF012 (of the class: a handler lives for one connection)

    def do_GET(self) -> None:  # noqa: N802 - the name is the library's
        self.authorizations.append(self.headers["authorization"])
        first, _, name = self.path.strip("/").partition("/")
        if first == "endless" and name == "model.json":
            self._endless()
        elif first == "sign-in":
            self._send(b"<!doctype html><title>Sign in</title>")
        elif first == "cut" and name == "model.onnx":
            content = (SAMPLE / name).read_bytes()
            self._send(content[: len(content) // 2], length=len(content))
            self.close_connection = True
        elif first == "empty" and name == "model.onnx":
            self._send(b"")
        elif first == "slow":
            self._drip((SAMPLE / name).read_bytes())
        elif first == "moved":
            self.send_response(302)
            self.send_header("Location", f"{self.elsewhere}/telco/{name}")
            self.end_headers()
        else:
            super().do_GET()

    def _endless(self) -> None:
        self._begin(1000 << 20)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                self.wfile.write(b"x" * (1 << 20))

    def _drip(self, content: bytes) -> None:
        self._begin(len(content))
        for start in range(0, len(content), 1 + len(content) // 5):
            self.wfile.write(content[start : start + 1 + len(content) // 5])
            self.wfile.flush()
            time.sleep(0.02)

    def _send(self, content: bytes, length: int | None = None) -> None:
        self._begin(len(content) if length is None else length)
        self.wfile.write(content)

    def _begin(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
