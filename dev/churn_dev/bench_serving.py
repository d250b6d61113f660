"""`churn-dev bench-serving`: the scoring server beside a bare echo on the same uvicorn, in one run.

Each server has the first core to itself and the load generator the second. Only ratios are stated: the
machine's speed is in both. The two take turns, so that a machine that slows down slows both.
"""

import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from churn_dev import bundles
from churn_dev.bench import Figure, serving_start
from churn_dev.console import step
from churn_dev.errors import DevError

ECHO_PORT, SERVING_PORT = 18090, 18092
ROUNDS = 5
SECONDS = 4
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open("{body}")
wrk.body = file:read("*a")
file:close()
"""


@dataclass(frozen=True)
class Load:
    """What a load generator saw.

    Attributes:
        rate: requests a second.
        median: seconds to the answer, of half the requests.
    """

    rate: float
    median: float


def run(bundle: Path) -> list[Figure]:
    """Measures everything with the bundle served by this environment."""
    if shutil.which("wrk") is None:
        raise DevError("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory() as work:
        script = _script(bundle, Path(work))
        with _running(_echo(), ECHO_PORT), _running(_serve(bundle), SERVING_PORT):
            figures = list(_compare(script))
    return [*figures, *serving_start(bundle)]


def read_wrk(text: str) -> Load:
    """The figures in what `wrk --latency` prints.

    Raises:
        ValueError: a request failed, or there are no figures.
    """
    if re.search(r"Non-2xx|Socket errors", text):
        raise ValueError(f"requests failed:\n{text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)\b", text)
    if rate is None or median is None:
        raise ValueError(f"wrk printed no figures:\n{text}")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0}[median[2]]
    return Load(float(rate[1]), float(median[1]) * unit)


def _compare(script: Path) -> Iterator[Figure]:
    for connections, goal in ((64, 0.80), (16, 0.60)):
        with step(f"{connections} connections"):
            pairs = _pairs(script, connections)
        ratios = [ours.rate / echo.rate for echo, ours in pairs]
        yield Figure(
            f"one raw record a request, {connections} connections: share of the echo's rate",
            f"≥ {goal:.2f}", _shown(ratios, [ours.rate for _, ours in pairs], "/s"),
            statistics.median(ratios) >= goal,
        )  # fmt: skip
    with step("1 connection"):
        pairs = _pairs(script, 1)
    ratios = [ours.median / echo.median for echo, ours in pairs]
    yield Figure(
        "one connection: median time to the answer, times the echo's",
        "≤ 2", _shown(ratios, [ours.median * 1e6 for _, ours in pairs], " us"),
        statistics.median(ratios) <= 2,
    )  # fmt: skip


def _shown(ratios: list[float], absolute: Iterable[float], unit: str) -> str:
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    measured = f"{statistics.median(absolute):,.0f}{unit}"
    return f"{statistics.median(ratios):.2f} ({spread} in {ROUNDS} rounds; {measured})"


def _pairs(script: Path, connections: int) -> list[tuple[Load, Load]]:
    urls = (f"http://127.0.0.1:{ECHO_PORT}/", f"http://127.0.0.1:{SERVING_PORT}/predict")
    return [tuple(_load(url, script, connections) for url in urls) for _ in range(ROUNDS)]  # type: ignore[misc]


def _load(url: str, script: Path, connections: int) -> Load:
    command: list[str | Path] = [
        "taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency",
        "-s", script, url,
    ]  # fmt: skip
    return read_wrk(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _script(bundle: Path, work: Path) -> Path:
    with (bundle / "golden.jsonl").open() as rows:
        record = json.loads(next(rows))["record"]
    (work / "body.json").write_text(json.dumps({"records": [{"customerID": "7590-VHVEG", **record}]}))
    script = work / "post.lua"
    script.write_text(SCRIPT.format(body=work / "body.json"))
    return script


def _echo() -> list[str | Path]:
    return [sys.executable, "-m", "churn_dev.echo", str(ECHO_PORT)]


def _serve(bundle: Path) -> list[str | Path]:
    return [
        bundles.serving_program(), "serve", "--model", bundle, "--host", "127.0.0.1",
        "--port", str(SERVING_PORT), "--metrics-port", str(SERVING_PORT + 1),
    ]  # fmt: skip


@contextmanager
def _running(command: list[str | Path], port: int) -> Iterator[None]:
    process = subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"{command[0]} does not listen on {port}")
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
