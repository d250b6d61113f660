"""`churn-serving serve` as a process on free ports of the loopback."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from churn_dev import bundles
from churn_dev.bench import resident

_LEAVES_WITHIN_SECONDS = 30


@dataclass(frozen=True)
class Served:
    """A server that said it is ready.

    Attributes:
        port: of its traffic.
        metrics_port: of its probes and metrics.
    """

    process: subprocess.Popen[str]
    port: int
    metrics_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory(self) -> float:
        """Resident, in MB."""
        return resident(Path(f"/proc/{self.process.pid}/status").read_text())


def start(bundle: Path, **settings: object) -> Served:
    """Start one and wait until it is ready; whoever starts it ends it.

    Args:
        bundle: what it serves.
        settings: by name, for example `drain_seconds`.
    """
    environment = {f"CHURN_{name.upper()}": str(value) for name, value in settings.items()}
    command: list[str | Path] = [
        bundles.serving_program(), "serve", "--model", bundle, "--host", "127.0.0.1", "--port", "0",
        "--metrics-port", "0",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    ready = json.loads(process.stdout.readline())  # type: ignore[union-attr]
    return Served(process, ready["port"], ready["metrics_port"])


def end(server: Served, number: signal.Signals = signal.SIGKILL) -> None:
    """Send the signal and wait until it has left.

    Raises:
        TimeoutExpired: it stays.
    """
    server.process.send_signal(number)
    server.process.wait(_LEAVES_WITHIN_SECONDS)
    server.process.stdout.close()  # type: ignore[union-attr]


@contextmanager
def served(bundle: Path, **settings: object) -> Iterator[Served]:
    """The same, killed at the end."""
    server = start(bundle, **settings)
    try:
        yield server
    finally:
        end(server)
