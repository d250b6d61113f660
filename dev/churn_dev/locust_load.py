"""Load by Locust with Python's requests, beside our own: another generator, another client, other timing."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from churn_dev.errors import DevError
from churn_dev.kubectl import wait_until
from churn_dev.load import KEPT, STRANGER, Lost, Outcomes
from churn_dev.peers import REQUIREMENTS, environment

_CLIENTS = REQUIREMENTS / "clients" / "locustfile.py"
_NEW = 24
"""Users that open a connection for each request: many, so that a slow answer holds no request back."""
_STOP_SECONDS = 15
"""Longer than a request may take: each that was sent gets its outcome."""


@contextmanager
def locust(url: str, body: Mapping[str, Any], *, rate: float, seconds: int = 3600) -> Iterator[Outcomes]:
    """Asks while the `with` block runs; the outcomes are filled in when it ends.

    Args:
        url: ends in /predict.
        body: JSON body of every request.
        rate: requests a second, half of them over new connections.
        seconds: after which it ends by itself, so that a forgotten load ends.

    Raises:
        DevError: Locust ended early or told nothing.
    """
    outcomes = Outcomes()
    program = environment("locust") / "locust"
    with tempfile.TemporaryDirectory() as work:
        began, told, wanted, log = (
            Path(work) / name for name in ("began", "told.json", "wanted.json", "log")
        )
        users = {"body": body, "rate": rate, "kept": KEPT, "new": _NEW, "stranger": STRANGER}
        wanted.write_text(json.dumps(users | {"began": str(began), "told": str(told)}))
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        command = [
            str(program), "--headless", "--only-summary", "--locustfile", str(_CLIENTS), "--host", origin,
            "--run-time", f"{seconds}s", "--stop-timeout", f"{_STOP_SECONDS}", "--exit-code-on-error", "0",
            "--users", f"{KEPT + _NEW}", "--spawn-rate", f"{KEPT + _NEW}",
        ]  # fmt: skip
        known = os.environ | {"CHURN_SOAK": str(wanted)}
        with log.open("w") as output:
            process = subprocess.Popen(command, cwd=work, env=known, stdout=output, stderr=output)
        try:
            wait_until(lambda: began.exists() or process.poll() is not None, "Locust to ask", seconds=120)
            yield outcomes
        finally:
            early = process.poll() is not None
            process.terminate()
            process.wait()
        if early or not told.exists():
            raise DevError(f"Locust ended before the load was over:\n{log.read_text()[-2000:]}")
        _add(outcomes, json.loads(told.read_text()))


def _add(outcomes: Outcomes, told: Mapping[str, Any]) -> None:
    outcomes.statuses.update({int(code): count for code, count in told["statuses"].items()})
    outcomes.lost += [Lost(**each) for each in told["lost"]]
    silent = [each.how for each in outcomes.lost if not each.how.startswith("HTTP ")]
    outcomes.failures.update(how.partition(":")[0] for how in silent)
