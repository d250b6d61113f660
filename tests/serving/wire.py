"""Bytes to a server and its answers, without a client library that would mend or refuse them."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any, NamedTuple


class Heard(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return json.loads(self.body)["error"]["code"]  # type: ignore[no-any-return]


class Wire:
    """One connection."""

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self._heard = b""

    def makefile(self, _mode: str) -> "Wire":
        """What HTTPResponse reads: one buffer for all answers, of which several may have come at once."""
        return self

    def readline(self, _limit: int) -> bytes:
        while b"\n" not in self._heard and self._hear_more():
            pass
        line, end, self._heard = self._heard.partition(b"\n")
        return line + end

    def read(self, count: int = 1 << 62) -> bytes:
        while len(self._heard) < count and self._hear_more():
            pass
        content, self._heard = self._heard[:count], self._heard[count:]
        return content

    @property
    def heard(self) -> bytes:
        """What came and was in no answer."""
        return self._heard

    def _hear_more(self) -> bool:
        more = self.socket.recv(1 << 16)
        self._heard += more
        return bool(more)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self, method: str = "POST") -> Heard:
        """The next answer."""
        answer = HTTPResponse(self, method=method)  # type: ignore[arg-type]
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Heard(answer.status, headers, answer.read())

    def closed(self) -> bool:
        """Whether the server closes it; waits for that as long as the socket's deadline allows."""
        try:
            while self._hear_more():
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


@contextmanager
def wire(port: int, *, seconds: float = 60) -> Iterator[Wire]:
    """A connection to a port of the loopback; nothing on it is waited for longer than `seconds`."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as opened:
        yield Wire(opened)


@contextmanager
def kept(port: int) -> Iterator[Wire]:
    """A connection on which a request was answered: for the next one the server waits as long as it keeps it.

    One that was only opened is closed where its first request is late; then another is opened.
    """
    deadline = time.monotonic() + 60
    while True:
        with wire(port) as opened:
            try:
                opened.send(request(method="GET", path="/livez"))
                answer = opened.hear("GET")
            except ConnectionError:
                assert time.monotonic() < deadline, "no request was in time"
                continue
            assert answer.status == 200
            yield opened
            return


def request(
    body: bytes = b"", *, method: str = "POST", path: str = "/predict", host: bool = True, **headers: Any
) -> bytes:
    """A request's bytes; a header's name has `_` for `-`, and a value of None leaves it out."""
    given = {"Content_Type": "application/json", "Content_Length": len(body), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items() if value is not None]
    if host:
        lines.insert(0, "Host: x")
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "\r\n"]).encode("latin-1") + body


def ask(port: int, data: bytes, *, method: str = "POST") -> Heard:
    """One answer on a connection of its own."""
    with wire(port) as opened:
        opened.send(data)
        return opened.hear(method)
