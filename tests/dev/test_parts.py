"""Programs that outlive the process which started them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from churn_dev.errors import DevError
from churn_dev.kubectl import wait_until
from churn_dev.parts import Part, recorded


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Callable[..., Part]]:
    """Makes parts in a directory of the test's own; what still runs at the end is stopped."""
    made: list[Part] = []
    for folder in ("log", "pids"):
        (tmp_path / folder).mkdir()

    def make(*command: str, name: str = "sample/part") -> Part:
        made.append(Part(name, command, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_started_part_runs_until_it_is_stopped(part: Callable[..., Part]):
    sample = part("sleep", "1000")
    sample.start()
    assert sample.pid is not None
    sample.stop()
    assert sample.pid is None


def test_starting_twice_starts_once(part: Callable[..., Part]):
    sample = part("sleep", "1000")
    sample.start()
    first = sample.pid
    sample.start()
    assert sample.pid == first


def test_a_part_outlives_the_process_that_started_it(part: Callable[..., Part], tmp_path: Path):
    sample = part("sleep", "1000")
    script = "import sys; from pathlib import Path; from churn_dev.parts import Part; "
    script += "Part('sample/part', ('sleep', '1000'), Path(sys.argv[1])).start()"
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)
    assert sample.pid is not None


def test_stopping_ends_the_children_too(part: Callable[..., Part]):
    sample = part("bash", "-c", "sleep 1000 & wait")
    sample.start()
    pid = sample.pid
    assert pid
    (child,) = wait_until(lambda: _children(pid), "the child")
    sample.stop()
    wait_until(lambda: not Path(f"/proc/{child}").exists(), "the child to end")


def test_another_process_that_got_the_id_later_is_not_taken_for_the_part(
    part: Callable[..., Part], tmp_path: Path
):
    sample = part("sleep", "1000")
    (tmp_path / "pids" / "sample.part").write_text(f"{os.getpid()} 1")
    assert sample.pid is None


def test_a_frozen_part_still_counts_as_running(part: Callable[..., Part]):
    sample = part("sleep", "1000")
    sample.start()
    sample.signal(signal.SIGSTOP)
    assert sample.pid is not None


def test_a_part_that_ended_is_reported_with_its_last_words(part: Callable[..., Part]):
    sample = part("sh", "-c", "echo the port is taken >&2; exit 1")
    sample.start()
    wait_until(lambda: sample.pid is None, "the end")
    with pytest.raises(DevError, match=r"sample/part ended: the port is taken \(see .*sample\.part\.log\)"):
        sample.require()


def test_what_was_started_can_be_stopped_without_knowing_how_it_was_started(
    part: Callable[..., Part], tmp_path: Path
):
    sample = part("sleep", "1000")
    sample.start()
    (found,) = recorded(tmp_path)
    assert found.name == sample.name
    found.stop()
    assert sample.pid is None
