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
from churn_dev.usage import cpu_seconds, resident

_LEAVES_WITHIN_SECONDS = 30


@dataclass(frozen=True)
class Served:
    """A server that said it is ready.

    Attributes:
        port: of its traffic.
        metrics_port: of its probes and metrics.
        grpc_port: of gRPC; None where it is off.
    """

    process: subprocess.Popen[str]
    port: int
    metrics_port: int
    grpc_port: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cpu_seconds(self) -> float:
        """What it has taken of its core so far."""
        return cpu_seconds(self.process.pid)

    @property
    def memory(self) -> float:
        """Resident, in MB."""
        return resident(Path(f"/proc/{self.process.pid}/status").read_text())


def start(bundle: Path, *, core: int | None = None, **settings: object) -> Served:
    """Start one and wait until it is ready; whoever starts it ends it.

    Args:
        bundle: what it serves.
        core: the one that it runs on; None: any.
        settings: by name, for example `drain_seconds`.
    """
    environment = {f"CHURN_{name.upper()}": str(value) for name, value in settings.items()}
    command: list[str | Path] = [
        *(() if core is None else ("taskset", "-c", str(core))),
        bundles.serving_program(), "serve", "--model", bundle, "--host", "127.0.0.1", "--port", "0",
        "--metrics-port", "0",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    ready = json.loads(process.stdout.readline())  # type: ignore[union-attr]
    return Served(process, ready["port"], ready["metrics_port"], ready.get("grpc_port"))


def end(server: Served, number: signal.Signals = signal.SIGKILL) -> None:
    """Send the signal and wait until it has left.

    Raises:
        TimeoutExpired: it stays.
    """
    server.process.send_signal(number)
    server.process.wait(_LEAVES_WITHIN_SECONDS)
    server.process.stdout.close()  # type: ignore[union-attr]


@contextmanager
def served(bundle: Path, *, core: int | None = None, **settings: object) -> Iterator[Served]:
    """The same, killed at the end."""
    server = start(bundle, core=core, **settings)
    try:
        yield server
    finally:
        end(server)
