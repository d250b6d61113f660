"""A batch may be killed at any moment: the same command then ends it, with no row twice and none lost."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from churn_dev.stores import s3_store
from churn_serving.batch.run import score_files

from .conftest import SAMPLE, TELCO_CSV

DRIVER = Path(__file__).with_name("killed_batch.py")
ROWS, BAD = 1500, {7, 700, 1499}


@pytest.fixture(scope="module")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the same customers in each form; some cannot be scored."""
    directory = tmp_path_factory.mktemp("customers")
    with TELCO_CSV.open(newline="") as file:
        rows = list(csv.DictReader(file))[:ROWS]
    for row in BAD:
        rows[row]["tenure"] = "often"
    with (directory / "in.csv").open("w", newline="") as file:
        write = csv.DictWriter(file, rows[0])
        write.writeheader()
        write.writerows(rows)
    lines = (json.dumps({name: typed(text) for name, text in row.items()}) for row in rows)
    (directory / "in.ndjson").write_text("".join(f"{line}\n" for line in lines))
    pq.write_table(pa.Table.from_pylist(rows), directory / "in.parquet", row_group_size=400)
    return directory


def typed(text: str) -> str | float | None:
    """As JSON has it: numbers are no texts."""
    try:
        return float(text)
    except ValueError:
        return text.strip() or None


def kill_and_go_on(
    source: Path, target: str, work: Path, environment: dict[str, str]
) -> list[dict[str, int]]:
    """What the second run told after a kill at each step, in their order."""
    (work / "out").mkdir()
    arguments = [SAMPLE, source, target, work]
    done = subprocess.run(
        [sys.executable, DRIVER, *arguments], capture_output=True, text=True, check=False, timeout=550,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def content(path: Path) -> object:
    return pq.read_table(path).to_pydict() if path.suffix == ".parquet" else path.read_text()


@pytest.mark.parametrize(
    ("form", "place"), [("csv", "here"), ("ndjson", "here"), ("parquet", "here"), ("parquet", "in a store")]
)
def test_a_run_that_was_killed_at_any_step_is_ended_by_the_next(
    customers: Path, tmp_path: Path, form: str, place: str
):
    score_files(SAMPLE, str(customers / f"in.{form}"), str(tmp_path / f"whole.{form}"))
    expected = {f"out{end}": content(tmp_path / f"whole{end}") for end in (f".{form}", ".rejected.csv")}
    source, target = customers / f"in.{form}", str(tmp_path / "out" / f"out.{form}")
    if place == "here":
        told = kill_and_go_on(source, target, tmp_path, {})
    else:
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "scores").symlink_to(tmp_path / "out", target_is_directory=True)
        with s3_store(tmp_path / "root", "127.0.0.1") as settings:
            told = kill_and_go_on(source, f"s3://scores/out.{form}", tmp_path, dict(settings))
    assert len(told) > 20
    assert {(each["scored"], each["rejected"]) for each in told} == {(ROWS - len(BAD), len(BAD))}
    assert {0, ROWS} < {each["resumed"] for each in told}
    for step in range(1, len(told) + 1):
        left = {path.name: content(path) for path in (tmp_path / f"after-{step}").iterdir() if path.is_file()}
        assert left == expected, f"killed at step {step}"
