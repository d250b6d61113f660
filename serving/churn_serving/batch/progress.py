"""Tells how far a run is: a line that is renewed on a terminal, a line now and then elsewhere."""

import sys
import time

from churn_serving.batch.run import Progress

_TERMINAL_SECONDS, _PLAIN_SECONDS = 0.2, 10.0


class Teller:
    """Writes to stderr, so that stdout holds the summary alone."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._every = _TERMINAL_SECONDS if self._on_terminal else _PLAIN_SECONDS
        self._started = self._told = time.monotonic()
        self._first: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Tell, unless it was told a moment ago."""
        self._first = self._first or progress
        now = time.monotonic()
        if now - self._told < self._every:
            return
        self._told = now
        line = describe(self._first, progress, now - self._started)
        print(
            f"\r{line:<78}" if self._on_terminal else line,
            end="" if self._on_terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        """Leave the terminal's line."""
        if self._on_terminal:
            print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)


def describe(first: Progress, now: Progress, seconds: float) -> str:
    """Rows, rate and time left. What an earlier run did, before `first`, does not count in the rate."""
    share = now.bytes_read / now.bytes_total if now.bytes_total else 1.0
    told = f"{now.rows:,} rows, {share:.0%}, {(now.rows - first.rows) / seconds:,.0f} rows/s"
    speed = (now.bytes_read - first.bytes_read) / seconds
    if speed <= 0:
        return told
    minutes, rest = divmod(round((now.bytes_total - now.bytes_read) / speed), 60)
    return f"{told}, {minutes}:{rest:02} left"
