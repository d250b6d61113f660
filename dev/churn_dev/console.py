"""Progress for people, on standard error: live with the time on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


def say(line: str) -> None:
    """Prints a line for people."""
    _console().print(line, markup=False)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Shows that `title` is under way and, when it is over, how long it took."""
    console = _console()
    started = time.monotonic()
    outcome = "failed after "
    try:
        if console.is_terminal:
            with _live(console, title):
                yield
        else:
            console.print(f"{title} ...", markup=False)
            yield
        outcome = ""
    finally:
        console.print(f"{title}: {outcome}{time.monotonic() - started:.1f} s", markup=False)


@contextmanager
def _live(console: Console, title: str) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(title, total=None)
        yield


def _console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)
