"""A cache of one kind, by list and watch. A list replaces everything: what vanished unseen is noticed."""

import asyncio
import marshal
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import structlog

from churn_operator.errors import ApiError, GoneError
from churn_operator.kinds import Kind
from churn_operator.metrics import CACHED, WATCH_CONTACT
from churn_operator.runtime.client import Client, WatchEvent

log = structlog.get_logger()

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
_WITHOUT_REFERENCES = 2
"""Version of the bytes in which the same content is the same bytes."""
SHORT_WATCH_SECONDS = 1.0
"""A watch that ends sooner counts as an error: a proxy that closes at once must not make us spin."""
BARREN_WATCHES = 3
"""So many in a row that ended soon and told nothing: something withholds what a list would tell."""

Owner = tuple[str, str]
"""Namespace, and the value of the label that names the owner."""
Trim = Callable[[dict[str, Any]], dict[str, Any]]


class _Kept(NamedTuple):
    """A trimmed object: its version, and the rest of it."""

    version: int
    content: Any


class Reflector:
    """Objects of `kind` with the label `owner_label`, trimmed, by owner. `changed` is told whose changed.

    They are kept as bytes, which are a sixth of the dicts they hold, unless `packed` is false: then they may
    hold what is not JSON.
    """

    def __init__(
        self,
        client: Client,
        kind: Kind,
        *,
        namespace: str | None,
        owner_label: str,
        trim: Trim,
        changed: Callable[[Owner], None],
        packed: bool = True,
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        self.beat = time.monotonic()  # last sign that the loop itself is alive, errors included
        self._client = client
        self._namespace = namespace
        self._owner_label = owner_label
        self._trim = trim
        self._changed = changed
        self._packed = packed
        self._owned: dict[Owner, dict[str, _Kept]] = {}
        self._owner_of: dict[tuple[str, str], Owner] = {}
        self._seen = 0  # newest version that a list or watch told
        self._version: str | None = None  # to watch from; None: list first
        self._heard = 0  # events of all watches

    def of(self, owner: Owner) -> dict[str, dict[str, Any]]:
        """Objects of `owner` by name."""
        return {name: self._open(kept) for name, kept in self._owned.get(owner, {}).items()}

    def absorb(self, obj: dict[str, Any]) -> None:
        """The answer to a write: seen before the watch brings it, so that it is not written again.

        An answer may be slow. What the watch is past and does not have was deleted since: no event would ever
        remove it again.
        """
        if _key(obj) in self._owner_of or _version(obj) > self._seen:
            self._store(obj)

    def drop(self, namespace: str, name: str, uid: str) -> None:
        """The object is gone, as the answer to a delete says; another one may have its name by now."""
        key = (namespace, name)
        owner = self._owner_of.get(key)
        if owner and self.of(owner)[name]["metadata"]["uid"] == uid:
            self._remove(key)

    async def run(self) -> NoReturn:
        """Lists and watches until cancelled."""
        backoff = _Backoff()
        while True:
            began, heard, at_least = time.monotonic(), self._heard, 0.0
            try:
                self._version = self._version or await self._list()
                await self._watch_from(self._version)
            except GoneError:
                self._version = None  # too far behind
            except ApiError as error:
                log.warning("Watch failed", kind=self.kind.kind, error=error.message, status=error.status)
                at_least = error.retry_after or 0.0
            self.beat = time.monotonic()
            good = heard != self._heard or self.beat - began >= SHORT_WATCH_SECONDS
            await backoff.after(good=good, at_least=at_least)
            if backoff.failures >= BARREN_WATCHES:
                self._version = None

    async def _watch_from(self, version: str) -> None:
        """Watches until the server ends the stream.

        Raises:
            GoneError: That version is too old.
        """
        async for event in self._client.watch(self.kind, self._namespace, self._owner_label, version):
            self._contact()
            self._heard += 1
            self._version = event.object["metadata"]["resourceVersion"]
            self._seen = max(self._seen, int(self._version))
            self._take(event)
        self._contact()

    def _take(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            self._remove(_key(event.object), event.object["metadata"]["resourceVersion"])
        elif event.type != "BOOKMARK":
            self._store(event.object)

    async def _list(self) -> str:
        present: set[tuple[str, str]] = set()
        version = ""
        async for items, version in self._client.pages(self.kind, self._namespace, self._owner_label):
            self._contact()
            if (
                int(version) < self._seen
            ):  # the server's storage was restored from a backup: nothing known holds
                for key in list(self._owner_of):
                    self._remove(key)
            self._seen = int(version)
            present.update(map(_key, items))
            for item in items:
                # Items of a list carry neither apiVersion nor kind.
                self._store({"apiVersion": self.kind.api_version, "kind": self.kind.kind, **item})
            items.clear()  # eight kinds are listed at once: none keeps a page while it waits for the next
        for key in [key for key in self._owner_of if key not in present]:
            self._remove(key, version)
        self.synced.set()
        return version

    def _contact(self) -> None:
        self.beat = time.monotonic()
        WATCH_CONTACT.labels(kind=self.kind.kind).set_to_current_time()

    def _store(self, obj: dict[str, Any]) -> None:
        key = _key(obj)
        owner = (key[0], (obj["metadata"].get("labels") or {}).get(self._owner_label, ""))
        known = self._owned.get(self._owner_of.get(key, owner), {}).get(key[1])
        if known and known.version >= _version(obj):
            return  # an event from before our own write
        fresh = self._keep(self._trim(obj))
        if self._owner_of.get(key, owner) != owner:
            self._remove(key)
        self._owner_of[key] = owner
        self._owned.setdefault(owner, {})[key[1]] = fresh
        CACHED.labels(kind=self.kind.kind).set(len(self._owner_of))
        if known is None or known.content != fresh.content:
            self._changed(owner)

    def _remove(self, key: tuple[str, str], version: str | None = None) -> None:
        owner = self._owner_of.get(key)
        if owner is None:
            return
        if version and self._owned[owner][key[1]].version > int(version):
            return  # made again since
        del self._owner_of[key]
        objects = self._owned[owner]
        del objects[key[1]]
        if not objects:
            del self._owned[owner]
        CACHED.labels(kind=self.kind.kind).set(len(self._owner_of))
        self._changed(owner)

    def _keep(self, trimmed: dict[str, Any]) -> _Kept:
        metadata = {key: value for key, value in trimmed["metadata"].items() if key != "resourceVersion"}
        content = trimmed | {"metadata": metadata}
        if self._packed:
            return _Kept(_version(trimmed), marshal.dumps(content, _WITHOUT_REFERENCES))
        return _Kept(_version(trimmed), content)

    def _open(self, kept: _Kept) -> dict[str, Any]:
        content: dict[str, Any] = kept.content
        if self._packed:
            content = marshal.loads(kept.content)  # noqa: S302  # bytes of our own making
        return content | {"metadata": content["metadata"] | {"resourceVersion": str(kept.version)}}


def _key(obj: dict[str, Any]) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _version(obj: dict[str, Any]) -> int:
    """Versions of one kind grow and may be compared as numbers (since Kubernetes 1.35 by contract)."""
    return int(obj["metadata"]["resourceVersion"])


class _Backoff:
    """Waits longer and longer while tries come to nothing; a good one resets it."""

    def __init__(self) -> None:
        self.failures = 0

    async def after(self, *, good: bool, at_least: float = 0.0) -> None:
        delay = 0.0
        if good:
            self.failures = 0
        else:
            delay = min(FIRST_BACKOFF_SECONDS * 2 ** min(self.failures, 10), LONGEST_BACKOFF_SECONDS)
            self.failures += 1
        delay = max(delay * random.uniform(0.5, 1.0), at_least)  # noqa: S311  # spreads, hides nothing
        await asyncio.sleep(delay)
