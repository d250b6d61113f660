"""An open-loop load generator: requests leave on schedule whatever the answers do, and every outcome is kept.

Only for addresses of this machine or of its own test cluster; bounded in count and time.
"""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import aiohttp

from churn_dev.background import Background

DEADLINE_SECONDS = 10.0
STRANGER = "no answer of a server"
"""What is said of a 200 that names no model version: somebody else gave it, a proxy's page say."""
KEPT = 8
"""Connections that are kept, used in turn: an idle one would not notice that its pod went away."""


@dataclass(frozen=True)
class Lost:
    """A request that got no 200 of a server.

    Attributes:
        at: when it was sent, in seconds since the epoch: what logs and Kubernetes say is told in the same.
        seconds: how long it took to fail.
        how: `HTTP 503`, or the kind of failure and what there is to say of it.
        rested: seconds that its kept connection was not used; None for a new connection.
    """

    at: float
    seconds: float
    how: str
    rested: float | None

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        over = "a new connection" if self.rested is None else f"one not used for {self.rested:.2f} s"
        return f"{when} over {over}, after {self.seconds:.2f} s: {self.how}"


@dataclass
class Outcomes:
    """What became of the requests.

    Attributes:
        statuses: answers by HTTP status.
        failures: requests without an answer of a server, by what happened.
        lost: each request that failed.
        versions: answers with status 200 by the model version that gave them.
        seconds: times from sending to the whole answer, of answered requests.
        longest_idle: the longest that a kept connection was not used, in seconds.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    lost: list[Lost] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    longest_idle: float = 0.0

    @property
    def sent(self) -> int:
        return self.statuses.total() + self.failures.total()

    @property
    def failed(self) -> int:
        """Requests that did not get a 200 of a server."""
        return self.sent - self.statuses[HTTPStatus.OK]

    def lose(self, lost: Lost, failure: str = "") -> None:
        """Notes a request that failed; `failure` says how where no server answered."""
        self.lost.append(lost)
        if failure:
            self.failures[failure] += 1

    def describe(self) -> str:
        """One line: how many, how many failed, and how."""
        kinds = {f"HTTP {code}": n for code, n in self.statuses.items() if code != HTTPStatus.OK} | dict(
            self.failures
        )
        how = ", ".join(f"{n} x {kind}" for kind, n in sorted(kinds.items())) or "none"
        return f"{self.sent} requests, {self.failed} failed ({how})"


class Load(Background):
    """Load on one URL while the `with` block runs, from a thread with its own event loop.

    Half of the requests go over kept connections, half over new ones: a rollout breaks them differently.
    Nothing waits for an answer: while a kept connection is busy, its turn is another's or a new one's.

    Args:
        url: where to POST.
        body: JSON body of every request.
        rate: requests a second.
        limit: most requests ever sent, so that a forgotten load ends.
    """

    def __init__(self, url: str, body: Mapping[str, Any], *, rate: float = 50, limit: int = 200_000) -> None:
        super().__init__("load")
        self.outcomes = Outcomes()
        self._url = url
        self._body = body
        self._rate = rate
        self._limit = limit

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            new = await stack.enter_async_context(_session(force_close=True))
            free = deque([_Kept(await stack.enter_async_context(_session())) for _ in range(KEPT)])
            sending = await stack.enter_async_context(asyncio.TaskGroup())
            start = time.monotonic()
            for number in range(self._limit):
                if self._stop.is_set():
                    break
                await asyncio.sleep(start + number / self._rate - time.monotonic())
                if number % 2 or not free:
                    sending.create_task(self._send(new, None))
                else:
                    sending.create_task(self._send_kept(free.popleft(), free))

    async def _send_kept(self, kept: "_Kept", free: "deque[_Kept]") -> None:
        rested = time.monotonic() - kept.used
        self.outcomes.longest_idle = max(self.outcomes.longest_idle, rested)
        await self._send(kept.session, rested)
        kept.used = time.monotonic()
        free.append(kept)

    async def _send(self, session: aiohttp.ClientSession, rested: float | None) -> None:
        outcomes, at, sent = self.outcomes, time.time(), time.monotonic()
        try:
            async with session.post(self._url, json=self._body) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            kind = type(error).__name__
            outcomes.lose(Lost(at, time.monotonic() - sent, f"{kind}: {error}", rested), kind)
            return
        seconds = time.monotonic() - sent
        version = _version(content) if answer.status == HTTPStatus.OK else ""
        if version is None:
            outcomes.lose(Lost(at, seconds, f"{STRANGER}: {content[:80]!r}", rested), STRANGER)
            return
        outcomes.statuses[answer.status] += 1
        outcomes.seconds.append(seconds)
        if answer.status == HTTPStatus.OK:
            outcomes.versions[version] += 1
        else:
            outcomes.lose(Lost(at, seconds, f"HTTP {answer.status}", rested))


def _version(content: bytes) -> str | None:
    """The model version that an answer names; None where it names none."""
    try:
        said = json.loads(content)
    except ValueError:
        return None
    version = said.get("version") if isinstance(said, dict) else None
    return version if isinstance(version, str) else None


@dataclass
class _Kept:
    """A client with one connection."""

    session: aiohttp.ClientSession
    used: float = field(default_factory=time.monotonic)


def _session(*, force_close: bool = False) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, force_close=force_close)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS))
