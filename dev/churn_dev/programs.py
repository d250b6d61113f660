"""Runs other programs to their end."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from churn_dev.errors import DevError


def output(
    *command: str | Path, stdin: str | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What the program prints on standard output.

    Raises:
        DevError: it ended with an error; gives its last words.
    """
    done = subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        name = " ".join([Path(command[0]).name, *map(str, command[1:2])])
        raise DevError(f"{name} failed: {' | '.join(words[-3:])}")
    return done.stdout
