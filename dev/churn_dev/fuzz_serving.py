"""`churn-dev fuzz-serving`: schemathesis asks the server what its OpenAPI document allows, and what not."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from churn_dev.bench import Figure
from churn_dev.console import step
from churn_dev.peers import REQUIREMENTS, environment
from churn_dev.served import served

# Of 16 operations, those that take a body get every case they are given.
_OPERATIONS_WITH_BODY = 5
# Made up by one process, which can use one core.
_PIECE = 1000


@dataclass(frozen=True)
class Fuzzed:
    """What came of it.

    Attributes:
        cases: Requests that were made up, sent and whose answers were checked.
        failures: Kinds of failures, each with the operations that have it.
        log: What schemathesis printed, with a command that repeats each failure.
    """

    cases: int
    failures: list[str]
    log: str

    def figures(self) -> Iterable[Figure]:
        """Beside their goals."""
        yield Figure("requests made up by schemathesis", "≥ 20,000", f"{self.cases:,}", self.cases >= 20_000)
        failures = "; ".join(self.failures) or "0"
        yield Figure("server errors and violations of the document", "0", failures, not self.failures)


def run(bundle: Path, *, cases: int, seed: int, phases: str = "examples,coverage,fuzzing") -> Fuzzed:
    """Serve the bundle and ask at least `cases` times, with every check on.

    Pieces with a seed each are asked of one server, as many at a time as there are cores; the first has all
    `phases`, the others what depends on the seed. Few records are allowed in a request, so that one too many
    are few as well.

    Raises:
        RuntimeError: A piece did not end by itself, so there is nothing to say.
    """
    program = environment("schemathesis") / "st"
    count = -(-cases // _PIECE)
    with (
        served(bundle, max_records=2) as server,
        step(f"{cases} made-up requests and more"),
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        ask = partial(_ask, program, server.url, -(-cases // count))
        fuzzed = list(threads.map(ask, range(seed, seed + count), [phases, *["fuzzing"] * (count - 1)]))
    return _add_up(fuzzed)


def _ask(program: Path, url: str, cases: int, seed: int, phases: str) -> Fuzzed:
    with tempfile.TemporaryDirectory() as work:
        report = Path(work) / "report.json"
        done = subprocess.run(
            [
                program, "--config-file", REQUIREMENTS / "schemathesis.toml", "--no-color",
                "run", f"{url}/openapi.json", "--phases", phases,
                "--continue-on-failure", "--request-timeout", "60", "--wait-for-schema", "60",
                "--max-examples", str(-(-cases // _OPERATIONS_WITH_BODY)), "--seed", str(seed),
                "--suppress-health-check", "all", "--report", "json", "--report-json-path", report,
            ],
            cwd=work, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not report.exists():
            raise RuntimeError(f"schemathesis gave no report:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return _read(json.loads(report.read_text()), done.stdout)


def _add_up(pieces: Sequence[Fuzzed]) -> Fuzzed:
    failures = dict.fromkeys(failure for piece in pieces for failure in piece.failures)
    logs = [piece.log for piece in pieces if piece.failures]
    return Fuzzed(sum(piece.cases for piece in pieces), list(failures), "\n".join(logs))


def _read(report: dict[str, Any], log: str) -> Fuzzed:
    """The figures in a report.

    Raises:
        RuntimeError: The run was cut short, or not every operation was asked.
    """
    operations, cases = report["operations"], report["test_cases"]
    if not report["complete"] or report["errors"] or operations["errored"] or operations["skipped"]:
        raise RuntimeError(f"schemathesis did not finish: {report['stop_reason']}\n{log[-2000:]}")
    failures = [f"{each['title']}: {', '.join(each['operations'])}" for each in report["failures"]]
    return Fuzzed(cases["generated"], failures, log)
