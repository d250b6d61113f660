"""A histogram as a scrape tells it, and what was observed between two scrapes."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Self


@dataclass(frozen=True)
class Histogram:
    """How many observations were at most each bound, in seconds; the last bound is infinite."""

    counts: dict[float, float]

    @classmethod
    def read(cls, said: str, name: str) -> Self:
        """The histogram of that name in the text of a scrape."""
        found = re.findall(rf'^{name}_bucket\{{.*le="(.+?)".*\}} (\S+)$', said, re.MULTILINE)
        return cls({float(bound): float(count) for bound, count in found})

    @property
    def total(self) -> int:
        return int(max(self.counts.values(), default=0))

    def since(self, before: Self) -> Self:
        """What came after `before`: minutes of rest would thin out what a busy one shows."""
        return type(self)({bound: count - before.counts[bound] for bound, count in self.counts.items()})

    def around(self, share: float) -> tuple[float, float]:
        """The bounds between which the quantile lies.

        Raises:
            ValueError: nothing was observed.
        """
        if not self.total:
            raise ValueError("nothing was observed")
        bounds = sorted(self.counts)
        return next(
            (low, high) for low, high in pairwise([0.0, *bounds]) if self.counts[high] >= share * self.total
        )
