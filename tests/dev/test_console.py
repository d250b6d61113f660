"""Progress, as people on a terminal and as logs see it."""

import os
import pty
import subprocess
import sys

_SCRIPT = """
import time
from churn_dev.console import step
with step("building [things]"):
    time.sleep(0.3)
try:
    with step("breaking"):
        raise ValueError
except ValueError:
    pass
"""


def _on_a_terminal() -> str:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", _SCRIPT], stderr=theirs, env=environment, check=True)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux says so when the other end is closed and all is read
        pass
    os.close(ours)
    return shown.decode()


def test_elsewhere_each_step_is_a_plain_line_at_its_start_and_its_end():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "building [things] ..."
    assert lines[1].startswith("building [things]: ")
    assert lines[1].endswith(" s")
    assert lines[3].startswith("breaking: failed after ")
    assert "\x1b" not in done.stderr


def test_on_a_terminal_the_step_is_live_and_leaves_its_time():
    shown = _on_a_terminal()
    assert "\x1b[2K" in shown  # a line is drawn over
    assert "0:00:0" in shown
    assert "building [things]: " in shown
