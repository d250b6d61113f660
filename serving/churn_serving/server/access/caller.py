"""Who asks, and how often they may."""

import math
import time
from collections.abc import Callable

from churn_serving.server.http import RequestError


class Caller:
    """Somebody who was let in.

    The rate is that of a bucket: it holds `burst` requests, each takes one, and `rate` a second come back. A
    window that is counted anew every second would let twice as many through at its edge.

    Attributes:
        name: As the log has it.
        label: As metrics have it: one of few.
    """

    def __init__(
        self,
        name: str,
        label: str,
        *,
        rate: float | None = None,
        burst: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.label = name, label
        self._rate, self._clock = rate, clock
        self._level = self._burst = float(burst or math.ceil(rate or 1))
        self._then = clock()

    def spend(self) -> None:
        """Count one request.

        Raises:
            RequestError: 429, with the seconds after which one more is answered.
        """
        if self._rate is None:
            return
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._then) * self._rate)
        self._then = now
        if self._level < 1:
            wait = math.ceil((1 - self._level) / self._rate)
            message = f"more requests than the {self._rate:g} a second that this key is good for"
            raise RequestError(429, "rate_limited", message, headers=((b"retry-after", b"%d" % wait),))
        self._level -= 1


ANYBODY = Caller("anybody", "anybody")
"""Who asks where nobody is asked who they are."""
