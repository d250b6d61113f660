"""The operator as a process that starts at once and may be killed at any moment."""

import importlib
import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_PROGRAM = "churn_operator.__main__"


def begin(environment: Mapping[str, str], log: Path, pace: Mapping[str, Any]) -> ForkServerProcess:
    """A new life of the operator: a fork of a process that has imported it and done nothing else.

    Args:
        environment: variables to set, KUBECONFIG among them.
        log: file that its output is added to.
        pace: constants of its modules by dotted name, to let its clocks run faster.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PROGRAM])
    process = context.Process(target=_live, args=(dict(environment), log, dict(pace)), daemon=True)
    process.start()
    return process


def kill(process: ForkServerProcess) -> None:
    """Ends a life as SIGKILL does: nothing is said, closed or finished."""
    process.kill()
    process.join()
    process.close()


def _live(environment: dict[str, str], log: Path, pace: dict[str, Any]) -> None:
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for place, value in pace.items():
        module, _, name = place.rpartition(".")
        setattr(importlib.import_module(module), name, value)
    importlib.import_module(_PROGRAM).main()
