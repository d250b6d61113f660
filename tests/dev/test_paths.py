"""Locks between processes."""

import subprocess
import sys
from pathlib import Path

from churn_dev.kubectl import wait_until
from churn_dev.paths import locked

_HOLD = """
import sys
from pathlib import Path
from churn_dev.paths import locked
with locked(Path(sys.argv[1])):
    Path(sys.argv[2]).touch()
"""


def test_a_lock_keeps_another_process_out_until_it_is_released(tmp_path: Path):
    lock, entered = tmp_path / "lock", tmp_path / "entered"
    with locked(lock):
        other = subprocess.Popen([sys.executable, "-c", _HOLD, lock, entered])
        wait_until(lambda: _waits(other.pid), "the other process to wait for the lock")
        assert not entered.exists()
    assert other.wait(timeout=60) == 0
    assert entered.exists()


def test_who_waited_for_a_lock_that_was_deleted_takes_the_new_one(tmp_path: Path):
    lock, entered = tmp_path / "lock", tmp_path / "entered"
    with locked(lock):
        other = subprocess.Popen([sys.executable, "-c", _HOLD, lock, entered])
        wait_until(lambda: _waits(other.pid), "the other process to wait for the lock")
        lock.unlink()
    assert other.wait(timeout=60) == 0
    assert entered.exists()
    assert lock.exists()


def _waits(pid: int) -> bool:
    waiting = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line)
    return any(fields[5] == str(pid) for fields in waiting)
