"""The reflector against a client that plays a script."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from churn_operator.errors import GoneError, TooManyRequestsError, UnreachableError
from churn_operator.kinds import SERVICE
from churn_operator.runtime import reflector as reflector_module
from churn_operator.runtime.client import WatchEvent
from churn_operator.runtime.reflector import Reflector


def service(name: str, version: int, model: str = "telco", **more: Any) -> dict[str, Any]:
    labels = {"churnops.io/model": model}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "shop", "name": name, "resourceVersion": str(version), "labels": labels},
    } | more


def event(kind: str, obj: dict[str, Any]) -> WatchEvent:
    return WatchEvent(kind, obj)


class Script:
    """Plays lists and watches in order, then stays silent. An exception in an event's place is raised."""

    def __init__(self, *acts: Any) -> None:
        self._acts = list(acts)
        self.asked: list[str] = []

    async def pages(self, *_: Any) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        self.asked.append("list")
        act = await self._next()
        for page in act if isinstance(act, list) else [act]:
            yield page

    async def watch(self, _: Any, __: Any, ___: Any, version: str) -> AsyncIterator[WatchEvent]:
        self.asked.append(f"watch {version}")
        for each in await self._next():
            if isinstance(each, Exception):
                raise each
            yield each

    async def _next(self) -> Any:
        if not self._acts:
            await asyncio.Event().wait()
        return self._acts.pop(0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector_module, "FIRST_BACKOFF_SECONDS", 0.0)
    monkeypatch.setattr(reflector_module, "SHORT_WATCH_SECONDS", 600.0)


Play = Callable[..., Any]


@pytest.fixture
def play() -> Play:
    """Runs a reflector to the end of a script: the reflector, whose changes it told, what it asked."""

    async def run(*acts: Any) -> tuple[Reflector, list[str], list[str]]:
        told: list[str] = []
        script = Script(*acts)
        reflector = Reflector(
            script,  # type: ignore[arg-type]
            SERVICE,
            namespace=None,
            owner_label="churnops.io/model",
            trim=lambda obj: obj,
            changed=lambda owner: told.append(owner[1]),
        )
        running = asyncio.create_task(reflector.run())
        while script._acts:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _ in range(100):  # turns of the loop, not a time: what follows the last act waits for nothing
            await asyncio.sleep(0)
        running.cancel()
        return reflector, told, script.asked

    return run


def names(reflector: Reflector, owner: str = "telco") -> set[str]:
    return set(reflector.of(("shop", owner)))


async def test_a_list_fills_it(play: Play):
    reflector, told, _ = await play(([service("a", 1), service("b", 2, "other")], "5"))
    assert (names(reflector), names(reflector, "other")) == ({"a"}, {"b"})
    assert sorted(told) == ["other", "telco"]
    assert reflector.synced.is_set()


async def test_a_watch_follows(play: Play):
    reflector, _, asked = await play(
        ([service("a", 1)], "5"),
        [event("ADDED", service("b", 6)), event("DELETED", service("a", 7))],
    )
    assert names(reflector) == {"b"}
    assert asked == ["list", "watch 5", "watch 7"]


async def test_a_bookmark_moves_on_without_a_change(play: Play):
    _, told, asked = await play(
        ([service("a", 1)], "5"), [event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})]
    )
    assert told == ["telco"]
    assert asked[-1] == "watch 9"


async def test_what_vanished_unseen_is_noticed_by_the_next_list(play: Play):
    reflector, told, asked = await play(
        ([service("a", 1), service("b", 2)], "5"), [GoneError(410, "too old")], ([service("b", 2)], "9")
    )
    assert names(reflector) == {"b"}
    assert told == ["telco", "telco", "telco"]
    assert asked == ["list", "watch 5", "list", "watch 9"]


async def test_what_is_on_a_later_page_did_not_vanish(play: Play):
    reflector, told, asked = await play(
        [([service("a", 1)], "5"), ([service("b", 2)], "5")],
        [GoneError(410, "too old")],
        [([service("a", 1)], "9"), ([service("b", 2)], "9")],
    )
    assert names(reflector) == {"a", "b"}
    assert told == ["telco", "telco"]
    assert asked == ["list", "watch 5", "list", "watch 9"]


async def test_a_broken_watch_goes_on_where_it_was(play: Play):
    reflector, _, asked = await play(
        ([], "5"),
        [event("ADDED", service("a", 6)), UnreachableError(0, "cut")],
        [event("ADDED", service("b", 7))],
    )
    assert names(reflector) == {"a", "b"}
    assert asked[:3] == ["list", "watch 5", "watch 6"]


async def test_watches_that_end_at_once_and_tell_nothing_make_it_list(play: Play):
    reflector, _, asked = await play(
        ([], "5"), [], [], [], ([service("a", 6)], "7"), [event("ADDED", service("b", 8))]
    )
    assert names(reflector) == {"a", "b"}
    assert asked == ["list", "watch 5", "watch 5", "watch 5", "list", "watch 7", "watch 8"]


async def test_a_refusal_that_says_how_long_to_wait_is_obeyed(play: Play):
    refusal = TooManyRequestsError(429, "busy", retry_after=3600)
    _, _, asked = await play(([], "5"), [refusal])
    assert asked == ["list", "watch 5"]


async def test_an_older_event_does_not_undo_our_own_write(play: Play):
    reflector, told, _ = await play(([service("a", 1, note="old")], "5"))
    reflector.absorb(service("a", 8, note="ours"))
    reflector._take(event("MODIFIED", service("a", 7, note="late")))
    assert reflector.of(("shop", "telco"))["a"]["note"] == "ours"
    reflector._take(event("DELETED", service("a", 6)))
    assert names(reflector) == {"a"}
    assert told == ["telco", "telco"]


async def test_a_slow_answer_does_not_bring_back_what_was_deleted_since(play: Play):
    reflector, _, _ = await play(
        ([], "5"), [event("ADDED", service("a", 6)), event("DELETED", service("a", 8))]
    )
    reflector.absorb(service("a", 7))
    assert names(reflector) == set()
    reflector.absorb(service("a", 9))
    assert names(reflector) == {"a"}, "made again"


async def test_a_slow_answer_to_a_delete_leaves_what_was_made_since(play: Play):
    made_again = service("a", 6)
    made_again["metadata"]["uid"] = "second"
    reflector, _, _ = await play(([made_again], "7"))
    reflector.drop("shop", "a", "first")
    assert names(reflector) == {"a"}
    reflector.drop("shop", "a", "second")
    assert names(reflector) == set()


async def test_the_same_content_under_a_new_version_is_no_change(play: Play):
    _, told, _ = await play(([service("a", 1)], "5"), [event("MODIFIED", service("a", 6))])
    assert told == ["telco"]


async def test_an_object_that_changes_hands_is_told_to_both(play: Play):
    reflector, told, _ = await play(([service("a", 1)], "5"), [event("MODIFIED", service("a", 6, "other"))])
    assert (names(reflector), names(reflector, "other")) == (set(), {"a"})
    assert sorted(told) == ["other", "telco", "telco"]


async def test_a_server_restored_from_a_backup_is_believed(play: Play):
    reflector, _, _ = await play(
        ([service("a", 90, note="new")], "95"),
        [GoneError(410, "too old")],
        ([service("a", 10, note="old")], "15"),
    )
    assert reflector.of(("shop", "telco"))["a"]["note"] == "old"


async def test_who_reads_an_object_cannot_change_what_is_known(play: Play):
    """Changed by a reader, it would differ from the cluster until the next list."""
    reflector, _, _ = await play(([service("a", 1, note="theirs")], "5"))
    reflector.of(("shop", "telco"))["a"]["note"] = "ours"
    seen = reflector.of(("shop", "telco"))["a"]
    assert (seen["note"], seen["metadata"]["resourceVersion"]) == ("theirs", "1")
