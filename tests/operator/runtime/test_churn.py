"""Names come and go for as long as the operator runs: nothing of them stays."""

import asyncio
from itertools import count
from typing import Any

from churn_operator.kinds import SERVICE
from churn_operator.metrics import REGISTRY
from churn_operator.runtime.client import WatchEvent
from churn_operator.runtime.queue import WorkQueue
from churn_operator.runtime.reflector import Reflector

NAMES = 3000


def series() -> int:
    """How many time series a scrape would bring."""
    return sum(len(metric.samples) for metric in REGISTRY.collect())


async def test_the_queue_keeps_nothing_of_keys_that_are_done(monkeypatch: Any):
    monkeypatch.setattr("churn_operator.runtime.queue.FIRST_BACKOFF_SECONDS", 0.0001)
    queue: WorkQueue[str] = WorkQueue()

    async def live_and_go(name: str) -> None:
        queue.add(name)
        queue.failed(await queue.get())
        assert await queue.get() == name
        queue.done(name)

    await live_and_go("first")
    before = series()
    for number in range(500):
        await live_and_go(f"telco-{number}")
    assert series() == before
    await asyncio.sleep(0)
    kept = (queue._changed, queue._looked_at, queue._running, queue._failures, queue._schedule._heap)
    assert [len(each) for each in kept] == [0, 0, 0, 0, 0]


async def test_a_cache_keeps_nothing_of_objects_that_are_deleted():
    version = count(1)
    nobody: Any = None
    reflector = Reflector(
        nobody,
        SERVICE,
        namespace=None,
        owner_label="churnops.io/model",
        trim=lambda obj: obj,
        changed=lambda _: None,
    )

    def happens(kind: str, name: str) -> None:
        metadata = {
            "namespace": "team",
            "name": name,
            "resourceVersion": str(next(version)),
            "labels": {"churnops.io/model": name},
        }
        reflector._take(WatchEvent(kind, {"metadata": metadata}))

    happens("ADDED", "stays")
    before = series()
    for number in range(NAMES):
        happens("ADDED", f"telco-{number}")
        happens("DELETED", f"telco-{number}")
    assert series() == before
    assert (len(reflector._owned), len(reflector._owner_of)) == (1, 1)


async def test_one_that_always_fails_holds_up_nobody():
    queue: WorkQueue[str] = WorkQueue()
    passes = {"poisoned": 0}
    for key in ("poisoned", *(f"telco-{number}" for number in range(NAMES))):
        queue.add(key)
    while len(passes) < NAMES + 1:
        key = await queue.get()
        passes[key] = passes.get(key, 0) + 1
        if key == "poisoned":
            queue.failed(key)
        else:
            queue.done(key)
    assert max(passes.values()) <= 3
