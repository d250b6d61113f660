"""Files of customers are scored as the server would, and no row is lost, not even when the run is killed."""

import csv
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from churn_serving.batch import lines
from churn_serving.batch.progress import describe
from churn_serving.batch.run import Progress, Summary, score_files
from churn_serving.errors import DataError
from churn_serving.model import load_model

from .conftest import SAMPLE, TELCO_CSV

PROGRAM = Path(sys.executable).with_name("churn-serving")

HEADER = "account,age,balance,plan,newsletter,visits,region"
GOOD = "A-1,30,50000000,basic,True,3,Zürich"


def score_file(bundle: Path, source: Path, target: Path, *, threshold: float = 0.5) -> Summary:
    return score_files(bundle, str(source), str(target), threshold=threshold, workers=1)


def score(shop: Path, tmp_path: Path, *lines: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    summary = score_file(shop, tmp_path / "in.csv", tmp_path / "out.csv")
    rejected = tmp_path / "out.rejected.csv"
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    refused = list(csv.DictReader(rejected.read_text().splitlines())) if rejected.exists() else []
    assert (summary.scored, summary.rejected) == (len(rows), len(refused))
    return rows, refused


def test_each_customer_gets_id_probability_and_churn(shop: Path, tmp_path: Path):
    (row,), refused = score(shop, tmp_path, HEADER, GOOD)
    model = load_model(shop)
    record = {
        "age": 30.0,
        "balance": 5e7,
        "plan": "basic",
        "newsletter": True,
        "visits": 3.0,
        "region": "Zürich",
    }
    from churn_serving.features import to_matrix

    probability = model.scorer.probabilities(to_matrix(model.encoder.encode([record]).rows, 6))[0]
    assert float(row["probability"]) == pytest.approx(probability, abs=1e-6)
    assert (row["account"], row["churn"]) == ("A-1", "true" if probability >= 0.5 else "false")
    assert refused == []


def test_rows_that_cannot_be_scored_are_named_by_line_and_the_others_are_scored(shop: Path, tmp_path: Path):
    rows, refused = score(
        shop,
        tmp_path,
        HEADER,
        GOOD,
        "A-2,thirty,50000000,basic,True,3,Zürich",
        "A-3,30,50000000,basic,True,3",
        'A-4,30,50000000,"pro, yearly",maybe,,Zürich',
        "A-5,,50000000,,False,99,Nowhere",
    )
    assert [row["account"] for row in rows] == ["A-1", "A-5"]
    assert [(row["line"], row["reason"].split(":")[0]) for row in refused] == [
        ("3", "age"),
        ("4", "has 6 cells, the header 7"),
        ("5", "newsletter"),
    ]


def test_where_all_rows_are_faulty_each_is_rejected_with_all_its_faults(shop: Path, tmp_path: Path):
    """More faults than one refusal of the encoder names."""
    rows, refused = score(shop, tmp_path, HEADER, *["A,thirty,lots,,maybe,3,Zürich"] * 30, GOOD)
    assert [row["account"] for row in rows] == ["A-1"]
    assert [int(row["line"]) for row in refused] == list(range(2, 32))
    assert {tuple(part.split(":")[0] for part in row["reason"].split("; ")) for row in refused} == {
        ("age", "balance", "newsletter")
    }


def test_rejected_rows_of_an_earlier_run_do_not_stay(shop: Path, tmp_path: Path):
    score(shop, tmp_path, HEADER, "A-2,thirty,50000000,basic,True,3,Zürich")
    _, refused = score(shop, tmp_path, HEADER, GOOD)
    assert refused == []


def test_without_the_id_column_the_line_stands_for_it(shop: Path, tmp_path: Path):
    (row,), _ = score(shop, tmp_path, HEADER.removeprefix("account,"), GOOD.removeprefix("A-1,"))
    assert row["line"] == "2"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("account,age", "lacks columns of the model: balance, plan"),
        (HEADER + ",colour", "no such columns.*colour"),
    ],
)
def test_wrong_columns_are_named_before_anything_is_written(
    shop: Path, tmp_path: Path, header: str, message: str
):
    with pytest.raises(DataError, match=message):
        score(shop, tmp_path, header, GOOD)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old-mac"])
def test_lines_may_end_in_any_way_and_are_numbered_alike(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
):
    monkeypatch.setattr(lines, "_BLOCK", 100)  # each block of the file holds a row or two
    rows = [HEADER, GOOD, GOOD.replace("basic", '"pro,\n\r yearly"'), GOOD.replace("30", "thirty"), GOOD]
    (tmp_path / "in.csv").write_text("\ufeff" + end.join([*rows, *rows[1:]]) + end, newline="")
    summary = score_file(shop, tmp_path / "in.csv", tmp_path / "out.csv")
    assert (summary.scored, summary.rejected) == (6, 2)
    rejected = (tmp_path / "out.rejected.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in rejected] == ["6", "12"]


def test_the_training_file_itself_can_be_scored(tmp_path: Path):
    """It has the id and the target; every one of its rows comes back."""
    summary = score_file(SAMPLE, TELCO_CSV, tmp_path / "out.csv")
    assert (summary.scored, summary.rejected) == (7043, 0)


def test_a_failure_leaves_no_half_written_file(shop: Path, tmp_path: Path):
    (tmp_path / "in.csv").write_bytes(f"{HEADER}\n{GOOD}\n".encode() + b"A-2,\xff,1,1,1,1,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        score_file(shop, tmp_path / "in.csv", tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def run(*arguments: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [PROGRAM, "score", *arguments], capture_output=True, text=True, check=False, timeout=120, **options
    )


def many_customers(path: Path, copies: int) -> int:
    """The Telco data again and again; every thousandth customer cannot be scored. Gives the rows."""
    header, *lines = TELCO_CSV.read_text().splitlines()
    with path.open("w") as file:
        print(header, file=file)
        for row in range(copies * len(lines)):
            customer = lines[row % len(lines)].split(",")
            customer[0] = f"C{row}"
            if row % 1000 == 7:
                customer[5] = "often"
            print(",".join(customer), file=file)
    return copies * len(lines)


def ids(path: Path) -> list[str]:
    return [line.split(",")[0] for line in path.read_text().splitlines()[1:]]


def kill_midway(directory: Path, *arguments: str | Path) -> set[int]:
    """Kill a run that has written rows down, and none that came to its end first; its children's ids."""
    journal, out, rejected = (
        directory / name for name in (".out.csv.journal", "out.csv", "out.rejected.csv")
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with subprocess.Popen([PROGRAM, "score", *arguments], stdout=subprocess.PIPE) as process:
            family = psutil.Process(process.pid)
            children: list[psutil.Process] = []
            while not journal.exists() and process.poll() is None:
                time.sleep(0.01)
            with suppress(psutil.NoSuchProcess):
                children = family.children(recursive=True)
            process.kill()
        if journal.exists() and not out.exists():
            return {child.pid for child in children}
        for path in (out, rejected, journal):
            path.unlink(missing_ok=True)
    raise TimeoutError("each run came to its end before it was killed")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_run_goes_on_with_no_row_twice_and_none_lost(tmp_path: Path, workers: str):
    rows = many_customers(tmp_path / "in.csv", copies=60)
    arguments = [tmp_path / "in.csv", tmp_path / "out.csv", "--model", SAMPLE, "--workers", workers]
    kill_midway(tmp_path, *arguments)
    with (tmp_path / ".out.csv.partial").open("a") as file:
        file.write("half a li")
    done = run(*arguments)
    summary = json.loads(done.stdout)
    assert 0 < summary["resumed"] <= rows
    assert (summary["scored"] + summary["rejected"], done.returncode) == (rows, 3)
    bad = {row for row in range(rows) if row % 1000 == 7}
    assert ids(tmp_path / "out.csv") == [f"C{row}" for row in range(rows) if row not in bad]
    assert ids(tmp_path / "out.rejected.csv") == [str(row + 2) for row in sorted(bad)]
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_workers_of_a_killed_run_end(tmp_path: Path):
    many_customers(tmp_path / "in.csv", copies=15)
    arguments = [tmp_path / "in.csv", tmp_path / "out.csv", "--model", SAMPLE, "--workers", "2"]
    children = kill_midway(tmp_path, *arguments)
    assert len(children) >= 2
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in children if psutil.pid_exists(pid)] == []


def test_a_journal_of_another_input_is_not_gone_on_with(shop: Path, tmp_path: Path):
    (tmp_path / ".out.csv.journal").write_text('{"run": "another", "rows": 1, "output_bytes": 0}')
    (tmp_path / ".out.csv.partial").write_text("other rows")
    rows, _ = score(shop, tmp_path, HEADER, GOOD)
    assert [row["account"] for row in rows] == ["A-1"]


def test_several_processes_write_what_one_writes_in_the_same_order(tmp_path: Path):
    for workers in ("1", "2"):
        done = run(TELCO_CSV, tmp_path / f"{workers}.csv", "--model", SAMPLE, "--workers", workers)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


def test_ndjson_is_scored_like_csv_and_faulty_lines_are_rejected(shop: Path, tmp_path: Path):
    good = {
        "account": 7, "age": None, "balance": 5e7, "plan": "basic", "newsletter": True, "visits": 3,
        "region": "Zürich",
    }  # fmt: skip
    lines = [json.dumps(good), "", "{", "[]", json.dumps({**good, "visits": "three"}), json.dumps(good)]
    (tmp_path / "in.ndjson").write_text("\n".join(lines) + "\n")
    summary = score_file(shop, tmp_path / "in.ndjson", tmp_path / "out.ndjson")
    first, second = (json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines())
    assert first == second
    assert first.keys() == {"account", "probability", "churn"}
    assert first["account"] == 7
    assert (summary.scored, summary.rejected) == (2, 3)
    assert (tmp_path / "out.rejected.csv").read_text().splitlines()[1:] == [
        "3,is no JSON",
        "4,expected an object of column names and values",
        "5,visits: expected a number",
    ]
    (tmp_path / "in.csv").write_text(f"{HEADER}\n7,,50000000,basic,True,3,Zürich\n")
    score_file(shop, tmp_path / "in.csv", tmp_path / "again.ndjson")
    (again,) = (json.loads(line) for line in (tmp_path / "again.ndjson").read_text().splitlines())
    assert again["probability"] == first["probability"]


def test_directories_and_patterns_give_a_file_for_each(shop: Path, tmp_path: Path):
    for name in ("a.csv", "2026/b.csv", "notes.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{HEADER}\n{GOOD}\n")
    summary = score_files(shop, str(tmp_path / "in"), str(tmp_path / "out"))
    assert (summary.files, summary.scored) == (2, 2)
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert found == {"a.csv", "2026/b.csv"}
    summary = score_files(shop, str(tmp_path / "in" / "*.csv"), str(tmp_path / "flat"), threshold=0.5)
    assert [path.name for path in (tmp_path / "flat").iterdir()] == ["a.csv"]


def test_finished_files_of_an_unfinished_run_are_not_scored_again(shop: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(f"{HEADER}\n{GOOD}\n")
    (tmp_path / "in" / "b.csv").write_text("nonsense\n1\n")
    with pytest.raises(DataError, match="lacks columns"):
        score_files(shop, str(tmp_path / "in"), str(tmp_path / "out"))
    (tmp_path / "in" / "b.csv").write_text(f"{HEADER}\n{GOOD}\n")
    summary = score_files(shop, str(tmp_path / "in"), str(tmp_path / "out"))
    assert (summary.scored, summary.resumed) == (2, 1)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.csv", "b.csv"}


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("none.csv", "out.csv", "No such file"),
        ("in", "in/out", "would be scored in the next run"),
        ("in/a.csv", "in", "is a directory"),
        ("in/a.csv", "in/a.csv", "overwrite"),
        ("in/*.json", "out", "names no file"),
        ("clash", "out", "two outputs would both be"),
    ],
)
def test_what_cannot_be_scored_to_there_is_refused(
    shop: Path, tmp_path: Path, source: str, target: str, message: str
):
    for name in ("in/a.csv", "clash/a.csv", "clash/a.ndjson"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{HEADER}\n{GOOD}\n")
    with pytest.raises(DataError, match=message):
        score_files(shop, str(tmp_path / source), str(tmp_path / target))
    assert (tmp_path / "in" / "a.csv").read_text() == f"{HEADER}\n{GOOD}\n"


def test_the_rate_counts_from_the_first_row_of_this_run(shop: Path, tmp_path: Path):
    (tmp_path / "in.csv").write_text(f"{HEADER}\n{GOOD}\n{GOOD}\n")
    told: list[Progress] = []
    score_files(shop, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), report=told.append)
    size = (tmp_path / "in.csv").stat().st_size
    assert told == [Progress(0, 0, size), Progress(2, size, size)]


def test_progress_tells_rate_and_time_left_without_what_an_earlier_run_did():
    first, now = Progress(1000, 100, 400), Progress(3000, 200, 400)
    assert describe(first, now, 4.0) == "3,000 rows, 50%, 500 rows/s, 0:08 left"
