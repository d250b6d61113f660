"""Scores a file again and again, each time killed one step later and then run to its end: `… BUNDLE IN OUT`.

A step is what the next run can see: a file made durable, renamed, removed or uploaded. Prints, for each step,
a line of JSON about what the second run told. Ends with the step that no run gets to.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd  # noqa: F401  # pyarrow asks for it where it is there: here, not in each child anew

from churn_serving.batch import files, lines, parquet, run, unfinished

BUNDLE, SOURCE, TARGET, WORK = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])


def score() -> None:
    summary = run.score_files(Path(BUNDLE), SOURCE, TARGET, workers=1, work=WORK / "stage")
    told = {"scored": summary.scored, "rejected": summary.rejected, "resumed": summary.resumed}
    print(json.dumps(told), flush=True)


def in_a_child(act: Callable[[], Any]) -> bool:
    """Whether it came to its end."""
    child = os.fork()
    if child == 0:
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return not os.WIFSIGNALED(status)


def score_until(step: int) -> None:
    left = step

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    os.fsync, files.upload = counted(os.fsync), counted(files.upload)
    Path.replace, Path.unlink = counted(Path.replace), counted(Path.unlink)  # type: ignore[method-assign]
    sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - its summary is not asked for
    score()


# A chunk is a few rows, and each is written down before the next.
lines._BLOCK, parquet._BATCH_ROWS, unfinished._CHECKPOINT_SECONDS = 40_000, 500, 0
unfinished._CHECKPOINT_SHARE = 0
os.fsync = lambda _: None  # a killed process loses nothing that it wrote; and there are thousands
step = 1
while not in_a_child(partial(score_until, step)):
    in_a_child(score)
    shutil.copytree(WORK / "out", WORK / f"after-{step}")
    for path in (WORK / "out", WORK / "stage"):
        shutil.rmtree(path, ignore_errors=True)
    (WORK / "out").mkdir()
    step += 1
