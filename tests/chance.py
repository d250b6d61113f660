"""Where tests leave something to chance: the same in each run, and another with each CHURN_SEED."""

import os
from collections.abc import Callable
from random import Random
from secrets import token_hex
from typing import Any

from hypothesis import HealthCheck, seed, settings

THOROUGH = "CHURN_ALL_FAULTS" in os.environ
"""Whether to try many, as `make faults` does, and not only what `make test` has time for."""
SEED = os.environ.get("CHURN_SEED") or (token_hex(4) if THOROUGH else "")
"""Chooses what is drawn; empty for what every run of `make test` draws."""


def dice(name: str) -> Random:
    """Chance for one purpose."""
    return Random(f"{SEED}/{name}")  # noqa: S311  # chooses, hides nothing


def generated(count: int, **more: Any) -> Callable[[Any], Any]:
    """Settings of a property that is tried `count` times; a long run draws anew each time."""

    def decorate(test: Any) -> Any:
        chosen = settings(
            max_examples=count,
            deadline=None,
            derandomize=not SEED,
            suppress_health_check=list(HealthCheck),
            **more,
        )(test)
        return seed(SEED)(chosen) if SEED else chosen

    return decorate
