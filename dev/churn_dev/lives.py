"""The operator as a process that starts at once and may be killed at any moment."""

import gc
import importlib
import json
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from churn_dev.kubectl import wait_until

_CONTAINERS = (dict, list, set, frozenset, deque)
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


def sizes(process: ForkServerProcess, log: Path) -> Counter[str]:
    """What a life holds: objects of each type, and elements of containers, the operator's and kopf's."""
    told = _told(log)
    told.unlink(missing_ok=True)
    os.kill(process.pid or 0, signal.SIGUSR1)
    wait_until(told.exists, "the operator tells its sizes", seconds=30)
    return Counter(json.loads(told.read_text()))


def _told(log: Path) -> Path:
    return log.with_suffix(".sizes")


def _tell_sizes(log: Path) -> None:
    gc.collect()
    found: Counter[str] = Counter()
    for obj in gc.get_objects():
        owner = type(obj)
        found[f"objects of {owner.__module__}.{owner.__qualname__}"] += 1
        if str(owner.__module__).startswith(("churn_operator.", "kopf.")):
            for name, value in getattr(obj, "__dict__", {}).items():
                if isinstance(value, _CONTAINERS):
                    found[f"in {owner.__qualname__}.{name}"] += len(value)
    fresh = _told(log).with_suffix(".writing")
    fresh.write_text(json.dumps(found))
    fresh.replace(_told(log))


def _live(environment: dict[str, str], log: Path, pace: dict[str, Any]) -> None:
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for place, value in pace.items():
        module, _, name = place.rpartition(".")
        setattr(importlib.import_module(module), name, value)
    signal.signal(signal.SIGUSR1, lambda *_: _tell_sizes(log))
    importlib.import_module(_PROGRAM).main()
