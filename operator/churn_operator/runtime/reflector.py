"""A cache of one kind, by list and watch. A list replaces everything: what vanished unseen is noticed."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import structlog

from churn_operator.errors import ApiError, GoneError
from churn_operator.kinds import Kind
from churn_operator.metrics import CACHED, WATCH_CONTACT
from churn_operator.runtime.client import Client, WatchEvent

log = structlog.get_logger()

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
SHORT_WATCH_SECONDS = 1.0
"""A watch that ends sooner counts as an error: a proxy that closes at once must not make us spin."""

Owner = tuple[str, str]
"""Namespace, and the value of the label that names the owner."""
Trim = Callable[[dict[str, Any]], dict[str, Any]]
_NOTHING: Mapping[str, dict[str, Any]] = MappingProxyType({})


class Reflector:
    """Objects of `kind` with the label `owner_label`, trimmed, by owner. `changed` is told whose changed."""

    def __init__(
        self,
        client: Client,
        kind: Kind,
        *,
        namespace: str | None,
        owner_label: str,
        trim: Trim,
        changed: Callable[[Owner], None],
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self.beat = time.monotonic()  # last sign that the loop itself is alive, errors included
        self._client = client
        self._namespace = namespace
        self._owner_label = owner_label
        self._trim = trim
        self._changed = changed
        self._owned: dict[Owner, dict[str, dict[str, Any]]] = {}
        self._owner_of: dict[tuple[str, str], Owner] = {}
        self._seen = 0  # newest version that a list or watch told

    def of(self, owner: Owner) -> Mapping[str, dict[str, Any]]:
        """Objects of `owner` by name."""
        return self._owned.get(owner, _NOTHING)

    def absorb(self, obj: dict[str, Any]) -> None:
        """The answer to a write: seen before the watch brings it, so that it is not written again."""
        self._store(obj)

    def drop(self, namespace: str, name: str) -> None:
        """The object is gone, as the answer to a delete says."""
        self._remove((namespace, name))

    async def run(self) -> NoReturn:
        """Lists and watches until cancelled."""
        backoff = _Backoff()
        while True:
            began = time.monotonic()
            try:
                await self._watch_from(await self._list())
            except GoneError:
                pass  # too far behind: list again
            except ApiError as error:
                log.warning("List failed", kind=self.kind.kind, error=error.message, status=error.status)
            self.beat = time.monotonic()
            await backoff.after(time.monotonic() - began)

    async def _watch_from(self, version: str) -> NoReturn:
        """Watches on and on from the last version seen.

        Raises:
            GoneError: That version is too old.
        """
        backoff = _Backoff()
        while True:
            began = time.monotonic()
            try:
                async for event in self._client.watch(self.kind, self._namespace, self._owner_label, version):
                    self._contact()
                    version = event.object["metadata"]["resourceVersion"]
                    self._seen = max(self._seen, int(version))
                    self._take(event)
                self._contact()
            except GoneError:
                raise
            except ApiError as error:
                log.warning("Watch failed", kind=self.kind.kind, error=error.message, status=error.status)
            self.beat = time.monotonic()
            await backoff.after(time.monotonic() - began)

    def _take(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            self._remove(_key(event.object), event.object["metadata"]["resourceVersion"])
        elif event.type != "BOOKMARK":
            self._store(event.object)

    async def _list(self) -> str:
        items, version = await self._client.list(self.kind, self._namespace, self._owner_label)
        self._contact()
        if int(version) < self._seen:  # the server's storage was restored from a backup: nothing known holds
            for key in list(self._owner_of):
                self._remove(key)
        self._seen = int(version)
        present = {_key(item) for item in items}
        for key in [key for key in self._owner_of if key not in present]:
            self._remove(key, version)
        for item in items:
            # Items of a list carry neither apiVersion nor kind.
            self._store({"apiVersion": self.kind.api_version, "kind": self.kind.kind, **item})
        self.synced.set()
        return version

    def _contact(self) -> None:
        self.beat = time.monotonic()
        WATCH_CONTACT.labels(kind=self.kind.kind).set_to_current_time()

    def _store(self, obj: dict[str, Any]) -> None:
        key = _key(obj)
        owner = (key[0], (obj["metadata"].get("labels") or {}).get(self._owner_label, ""))
        known = self._owned.get(self._owner_of.get(key, owner), {}).get(key[1])
        if known and _version(known) >= _version(obj):
            return  # an event from before our own write
        trimmed = self._trim(obj)
        if self._owner_of.get(key, owner) != owner:
            self._remove(key)
        self._owner_of[key] = owner
        self._owned.setdefault(owner, {})[key[1]] = trimmed
        CACHED.labels(kind=self.kind.kind).set(len(self._owner_of))
        if known is None or not _same(known, trimmed):
            self._changed(owner)

    def _remove(self, key: tuple[str, str], version: str | None = None) -> None:
        owner = self._owner_of.get(key)
        if owner is None:
            return
        if version and _version(self._owned[owner][key[1]]) > int(version):
            return  # made again since
        del self._owner_of[key]
        objects = self._owned[owner]
        del objects[key[1]]
        if not objects:
            del self._owned[owner]
        CACHED.labels(kind=self.kind.kind).set(len(self._owner_of))
        self._changed(owner)


def _key(obj: dict[str, Any]) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _version(obj: dict[str, Any]) -> int:
    """Versions of one kind grow and may be compared as numbers (since Kubernetes 1.35 by contract)."""
    return int(obj["metadata"]["resourceVersion"])


def _same(known: dict[str, Any], fresh: dict[str, Any]) -> bool:
    """Whether nothing but the version differs."""
    return _without_version(known) == _without_version(fresh)


def _without_version(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
    return {**obj, "metadata": metadata}


class _Backoff:
    """Waits longer and longer while tries end at once; a try that lasted resets it."""

    def __init__(self) -> None:
        self._failures = 0

    async def after(self, lasted_seconds: float) -> None:
        if lasted_seconds >= SHORT_WATCH_SECONDS:
            self._failures = 0
            return
        delay = min(FIRST_BACKOFF_SECONDS * 2**self._failures, LONGEST_BACKOFF_SECONDS)
        self._failures = min(self._failures + 1, 10)
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  # spreads, hides nothing
