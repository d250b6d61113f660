"""Calls an ASGI application in process, and runs the real server as a process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


async def call(
    app: App,
    path: str,
    body: bytes | list[bytes] = b"",
    *,
    method: str = "POST",
    headers: Mapping[str, str] = JSON,
    disconnects: bool = False,
) -> Answer:
    """One request; a list is a body that comes in parts."""
    parts = body if isinstance(body, list) else [body]
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": index + 1 < len(parts) or disconnects}
        for index, part in enumerate(parts)
    ]
    messages.append({"type": "http.disconnect"})
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": encoded, "query_string": b""}
    await app(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"")
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


@dataclass(frozen=True)
class Process:
    """A server that has said it is ready."""

    process: subprocess.Popen[str]
    ready: Mapping[str, Any]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ready['port']}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.ready['metrics_port']}"

    def next_event(self) -> dict[str, Any]:
        """The next log line; blocks until it is written."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]

    def end(self, number: int = signal.SIGTERM, *, within: float = 60) -> int:
        self.process.send_signal(number)
        return self.process.wait(within)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "churn_serving", *map(str, arguments)]


@contextmanager
def served(*arguments: object, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """`churn-serving serve` on free ports of the loopback."""
    ports = ("--host", "127.0.0.1", "--port", 0, "--metrics-port", 0)
    with subprocess.Popen(
        command("serve", *arguments, *ports),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CHURN_DRAIN_SECONDS": "0.5", **(environment or {})},
    ) as process:
        try:
            assert process.stdout is not None
            yield Process(process, json.loads(process.stdout.readline()))
        finally:
            process.kill()


def run(
    *arguments: object, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=120,
        env={**os.environ, **(environment or {})},
    )
