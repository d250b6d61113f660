"""When the kubelet should restart the operator: when what it knows grows stale and would stay so."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from churn_operator.probes import STUCK_WATCH_SECONDS, find_stuck
from churn_operator.runtime.queue import WorkQueue
from churn_operator.shell import Shell


class Still:
    """Caches whose watches were last heard of a while ago."""

    def __init__(self, seconds: float) -> None:
        kind = type("Kind", (), {"plural": "services"})
        self.reflectors = [type("One", (), {"kind": kind, "beat": time.monotonic() - seconds})]


@pytest.fixture
def shell() -> Callable[..., Any]:
    async def build(*, silent_seconds: float, running: bool) -> Any:
        nothing: Any = None
        shell = Shell(nothing, nothing, None)
        shell._heard = time.monotonic() - silent_seconds
        shell._stop = (asyncio.get_running_loop(), asyncio.Event()) if running else None
        return shell

    return build


async def stuck(shell: Any, watches_seconds: float = 0) -> list[str]:
    caches: Any = Still(watches_seconds)
    return find_stuck(caches, WorkQueue(), shell)


async def test_what_is_heard_of_now_and_then_is_not_stuck(shell: Callable[..., Any]):
    assert await stuck(await shell(silent_seconds=120, running=True), 120) == []


async def test_a_silent_watch_of_children_is_stuck(shell: Callable[..., Any]):
    found = await stuck(await shell(silent_seconds=0, running=True), STUCK_WATCH_SECONDS + 1)
    assert found == ["watch of services"]


async def test_a_silent_kopf_is_stuck(shell: Callable[..., Any]):
    found = await stuck(await shell(silent_seconds=STUCK_WATCH_SECONDS + 1, running=True))
    assert found == ["watch of churnmodels"]


async def test_while_kopf_waits_to_be_started_again_nothing_is_stuck(shell: Callable[..., Any]):
    assert await stuck(await shell(silent_seconds=9999, running=False)) == []
