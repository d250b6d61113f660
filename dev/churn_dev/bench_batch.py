"""`churn-dev bench-batch`: files of customers scored by `churn-serving score` and by scikit-learn, pandas.

The two take turns on the same file. Rates are rows per second of CPU time, all threads and processes counted:
what else the machine does slows both and changes neither. Only ratios are stated.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from churn_dev import bundles
from churn_dev.batch_run import ID, TARGET, read_customers
from churn_dev.bench import Figure
from churn_dev.console import step

ROWS = 1_000_000
CSV_ROWS = 500_000
ROUNDS = 5


@dataclass(frozen=True)
class Run:
    """What scoring a file took: seconds of CPU and of time, and the resident memory at its highest in MB."""

    cpu: float
    wall: float
    memory: float


def run() -> list[Figure]:
    """Measures everything with bundles trained for it."""
    with tempfile.TemporaryDirectory() as work:
        return list(_Bench(Path(work)).figures())


class _Bench:
    def __init__(self, work: Path) -> None:
        self._work = work
        self._models = {name: work / name for name in ("logistic", "gradient-boosting")}

    def figures(self) -> Iterator[Figure]:
        with step("models and customers"):
            for algorithm, directory in self._models.items():
                bundles.train_telco(directory, algorithm=algorithm)
            self._write("small.parquet", 10_000)
            self._write("some.parquet", ROWS)
            self._write("many.parquet", 4 * ROWS)
            self._write("some.csv", CSV_ROWS)
        yield self._ratio("logistic", 30)
        yield self._ratio("gradient-boosting", None)
        yield self._memory()
        yield self._processes()

    def _write(self, name: str, rows: int) -> None:
        """Customers drawn from the sample, each with an id of its own, as pandas writes them."""
        customers = read_customers().drop(columns=TARGET)
        drawn = customers.sample(n=rows, replace=True, random_state=1, ignore_index=True)
        drawn[ID] = [f"{row:010d}" for row in range(rows)]
        write = drawn.to_csv if name.endswith("csv") else drawn.to_parquet
        write(self._work / name, index=False)

    def _ratio(self, algorithm: str, goal: float | None) -> Figure:
        with step(f"{algorithm}, beside scikit-learn and pandas"):
            pairs = [
                (self._score("1", self._models[algorithm]), self._score("pandas", algorithm))
                for _ in range(ROUNDS)
            ]
        ratios = [theirs.cpu / ours.cpu for ours, theirs in pairs]
        rates = [statistics.median(ROWS / each.cpu for each in runs) for runs in zip(*pairs, strict=True)]
        return Figure(
            f"{algorithm}, Parquet in and out: rows a second and core, times scikit-learn with pandas",
            "" if goal is None else f"≥ {goal:g}",
            f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f} in {ROUNDS} rounds; "
            f"{rates[0]:,.0f}/s and {rates[1]:,.0f}/s)",
            None if goal is None else statistics.median(ratios) >= goal,
        )

    def _memory(self) -> Figure:
        with step("memory"):
            few, many = (
                self._score("1", self._models["logistic"], source).memory
                for source in ("some.parquet", "many.parquet")
            )
        return Figure(
            "resident memory at its highest, four times the rows in four times the row groups",
            "≤ 1.1 times", f"{many / few:.2f} times ({few:.0f} MB, {many:.0f} MB)", many / few <= 1.1,
        )  # fmt: skip

    def _processes(self) -> Figure:
        with step("two processes"):
            one, two = (self._score(count, self._models["logistic"], "some.csv") for count in ("1", "2"))
        return Figure(
            f"{CSV_ROWS:,} rows of CSV in two processes, their start included: rate, times that of one",
            "", f"{one.wall / two.wall:.2f} ({two.cpu / one.cpu:.2f} times the CPU time)",
        )  # fmt: skip

    def _score(self, how: str, model: str | Path, source: str = "some.parquet") -> Run:
        files = [self._work / source, self._work / f"scores{Path(source).suffix}", model]
        program = [sys.executable, "-m", "churn_dev.batch_run", how, *files, self._work / "small.parquet"]
        done = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True)
        return Run(**json.loads(done.stdout))
