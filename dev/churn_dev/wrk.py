"""`wrk`, the load generator of the benchmarks: one request again and again, from the second core."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

from churn_dev.errors import DevError

SECONDS = 4
SCRIPT = """
wrk.method = "POST"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
"""


@dataclass(frozen=True)
class Question:
    """A request that is repeated.

    Attributes:
        url: where it goes.
        body: its bytes.
        headers: beside the content type, which is JSON unless one is given.
    """

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Load:
    """What a load generator saw.

    Attributes:
        rate: requests a second.
        median: seconds to the answer, of half the requests.
    """

    rate: float
    median: float


def require_wrk() -> None:
    """Raises DevError where the program is missing."""
    if shutil.which("wrk") is None:
        raise DevError("wrk is missing: apt-get install wrk")


def ask_once(question: Question) -> bytes:
    """The body of the answer to one request.

    Raises:
        HTTPError: it was refused.
    """
    request = Request(question.url, question.body, dict(question.headers))  # noqa: S310 - the benchmarks' own
    with urlopen(request, timeout=60) as reply:  # noqa: S310
        return bytes(reply.read())


def load(question: Question, connections: int) -> Load:
    """Asks for `SECONDS` over so many connections.

    Raises:
        ValueError: a request failed: its time would be no figure.
    """
    with tempfile.TemporaryDirectory() as work:
        script, body = Path(work, "post.lua"), Path(work, "body")
        body.write_bytes(question.body)
        headers = (f'wrk.headers["{name}"] = "{value}"\n' for name, value in question.headers.items())
        script.write_text(SCRIPT.format(body=body) + "".join(headers))
        command: list[str | Path] = [
            "taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--timeout", "30s",
            "--latency", "-s", script, question.url,
        ]  # fmt: skip
        return read_wrk(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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
