import asyncio
from itertools import pairwise

import pytest

from churn_operator.runtime import queue as queue_module
from churn_operator.runtime.queue import WorkQueue


@pytest.fixture
def queue() -> WorkQueue[str]:
    return WorkQueue()


async def take(queue: WorkQueue[str], seconds: float = 60):
    return await asyncio.wait_for(queue.get(), seconds)


async def is_empty(queue: WorkQueue[str]):
    try:
        await take(queue, 0.02)
    except TimeoutError:
        return True
    return False


async def test_a_key_waits_once_however_often_it_is_added():
    queue = WorkQueue()
    for _ in range(5):
        queue.add("a")
    assert await take(queue) == "a"
    queue.done("a")
    assert await is_empty(queue)


async def test_a_key_never_runs_twice_at_once():
    queue = WorkQueue()
    queue.add("a")
    await take(queue)
    queue.add("a")
    assert await is_empty(queue)
    queue.done("a")
    assert await take(queue) == "a"


async def test_what_comes_in_while_it_runs_makes_it_run_once_more():
    queue = WorkQueue()
    queue.add("a")
    await take(queue)
    for _ in range(5):
        queue.add("a")
    queue.done("a")
    assert await take(queue) == "a"
    queue.done("a")
    assert await is_empty(queue)


async def test_keys_come_in_their_order():
    queue = WorkQueue()
    for key in "abc":
        queue.add(key)
    assert [await take(queue) for _ in range(3)] == ["a", "b", "c"]


async def test_a_key_comes_again_after_its_time():
    queue, clock = WorkQueue(), asyncio.get_running_loop().time
    asked = clock()
    queue.add_after("a", 0.03)
    assert await take(queue) == "a"
    assert clock() - asked >= 0.029


async def test_the_earlier_of_two_times_counts():
    queue = WorkQueue()
    queue.add_after("a", 0.01)
    queue.add_after("a", 600)
    assert await take(queue) == "a"


async def test_a_failure_waits_longer_each_time_and_a_success_forgets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queue_module, "FIRST_BACKOFF_SECONDS", 0.001)
    queue = WorkQueue()
    delays = []
    for _ in range(4):
        queue.add("a")
        await take(queue)
        delays.append(queue.failed("a"))
    assert all(longer > 1.5 * shorter for shorter, longer in pairwise(delays))
    assert await take(queue) == "a"
    queue.done("a")
    queue.add("a")
    await take(queue)
    assert queue.failed("a") < delays[1]


async def test_a_failure_never_comes_before_the_server_allows():
    queue = WorkQueue()
    queue.add("a")
    await take(queue)
    assert queue.failed("a", at_least=17) >= 17


async def test_a_failed_key_runs_at_once_when_something_changes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queue_module, "FIRST_BACKOFF_SECONDS", 300.0)
    queue = WorkQueue()
    queue.add("a")
    await take(queue)
    queue.failed("a")
    queue.add("a")
    assert await take(queue) == "a"


async def test_a_key_that_the_server_told_to_wait_waits_whatever_changes():
    queue = WorkQueue()
    queue.add("a")
    await take(queue)
    queue.add("a")  # while it runs
    queue.failed("a", at_least=600)
    queue.add("a")
    queue.add_after("a", 0.01)
    queue.add("b")
    assert await take(queue) == "b"
    assert await is_empty(queue)


async def test_what_the_server_told_is_over_in_its_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queue_module, "FIRST_BACKOFF_SECONDS", 0.0)
    queue = WorkQueue()
    queue.add("a")
    await take(queue)
    queue.failed("a", at_least=0.05)
    assert await take(queue) == "a"


async def test_draining_waits_for_what_runs_and_gives_out_nothing():
    queue = WorkQueue()
    queue.add("a")
    await take(queue)
    draining = asyncio.create_task(queue.drain())
    queue.add("b")
    assert await is_empty(queue)
    assert not draining.done()
    queue.done("a")
    await asyncio.wait_for(draining, 60)


async def test_the_age_of_a_pass_is_known():
    queue = WorkQueue()
    assert queue.oldest_run_seconds() == 0
    queue.add("a")
    await take(queue)
    await asyncio.sleep(0.02)
    assert queue.oldest_run_seconds() >= 0.01


async def test_what_changed_goes_before_what_is_only_looked_at():
    queue: WorkQueue[str] = WorkQueue()
    for key in "abc":
        queue.add(key, later=True)
    queue.add("d")
    queue.add("b")
    assert [await take(queue) for _ in range(4)] == ["d", "b", "a", "c"]
    assert await is_empty(queue)


async def test_what_changed_stays_in_front_when_all_are_looked_at():
    queue: WorkQueue[str] = WorkQueue()
    for key in "ab":
        queue.add(key)
    for key in "cba":
        queue.add(key, later=True)
    assert [await take(queue) for _ in range(3)] == ["a", "b", "c"]
    assert await is_empty(queue)
