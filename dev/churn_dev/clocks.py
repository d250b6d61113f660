"""Clocks of machines that are wrong. Each takes the place of `datetime` in the modules of a process."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import ClassVar, Self

OFF = timedelta(minutes=10)


class _Wrong(datetime):
    offs: ClassVar[Iterator[timedelta]]

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + next(cls.offs)


class Ahead(_Wrong):
    """Ten minutes ahead."""

    offs = itertools.cycle([OFF])


class Behind(_Wrong):
    """Ten minutes behind."""

    offs = itertools.cycle([-OFF])


class Stepping(_Wrong):
    """Steps by ten minutes each time that it is looked at: ahead, back, behind, back."""

    offs = itertools.cycle([OFF, timedelta(), -OFF, timedelta()])
