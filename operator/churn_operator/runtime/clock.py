"""The time that the API server goes by.

It stamps what it makes, so the age of a pod is told by its clock. That of the operator's machine may be off
or step.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LIKELY_YEARS = range(2015, 9000)
"""A `Date` out of these is none: Kubernetes is not older, and sums with it must not overflow."""
SLACK_SECONDS = 5
"""A `Date` leaves out the fraction of its second and the time of its way here."""


def elapsed() -> float:
    """Seconds that pass whatever is done to the clock; where the system can, also while it is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Clock:
    """Goes on from the latest time that was heard; by the machine's own clock before any was.

    Args:
        elapsed: Seconds since any moment, which only ever grow.
    """

    def __init__(self, elapsed: Callable[[], float] = elapsed) -> None:
        self._elapsed = elapsed
        self._heard: tuple[datetime, float] | None = None

    def hear(self, date: str | None) -> None:
        """Sets it by the `Date` of an answer that came just now. What is no time in GMT is passed over."""
        try:
            told = parsedate_to_datetime(date or "")
        except ValueError:
            return
        if told.tzinfo == UTC and told.year in LIKELY_YEARS and not self._knew(told):
            self._heard = told, self._elapsed()

    def now(self) -> datetime:
        """The time, in UTC."""
        if self._heard is None:
            return datetime.now(UTC)
        told, at = self._heard
        return told + timedelta(seconds=self._elapsed() - at)

    def _knew(self, told: datetime) -> bool:
        """Whether it is only a little ahead of `told`: a verdict must not be taken back for that."""
        return self._heard is not None and 0 <= (self.now() - told).total_seconds() <= SLACK_SECONDS
