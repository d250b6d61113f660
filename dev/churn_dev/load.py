"""An open-loop load generator: requests leave on schedule whatever the answers do, and every outcome is kept.

Only for addresses of this machine or of its own test cluster; bounded in count and time.
"""

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

DEADLINE_SECONDS = 10.0
KEPT = 8
"""Connections that are kept, used in turn: an idle one would not notice that its pod went away."""


@dataclass
class Outcomes:
    """What became of the requests.

    Attributes:
        statuses: answers by HTTP status.
        failures: requests without an answer, by what happened.
        versions: answers with status 200 by the model version that gave them.
        seconds: times from sending to the whole answer, of answered requests.
        longest_idle: the longest that a kept connection was not used, in seconds.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    longest_idle: float = 0.0

    @property
    def sent(self) -> int:
        return self.statuses.total() + self.failures.total()

    @property
    def failed(self) -> int:
        """Requests that did not get a 200."""
        return self.sent - self.statuses[HTTPStatus.OK]

    def describe(self) -> str:
        """One line: how many, how many failed, and how."""
        kinds = {f"HTTP {code}": n for code, n in self.statuses.items() if code != HTTPStatus.OK} | dict(
            self.failures
        )
        how = ", ".join(f"{n} x {kind}" for kind, n in sorted(kinds.items())) or "none"
        return f"{self.sent} requests, {self.failed} failed ({how})"


class Load:
    """Load on one URL while the `with` block runs, from a thread with its own event loop.

    Half of the requests go over kept connections, half over new ones: a rollout breaks them differently.
    A kept connection that is busy gets a second one beside it: nothing waits for an answer.

    Args:
        url: where to POST.
        body: JSON body of every request.
        rate: requests a second.
        limit: most requests ever sent, so that a forgotten load ends.
    """

    def __init__(self, url: str, body: Mapping[str, Any], *, rate: float = 50, limit: int = 200_000) -> None:
        self.outcomes = Outcomes()
        self._url = url
        self._body = body
        self._rate = rate
        self._limit = limit
        self._used: dict[aiohttp.ClientSession, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            new = await stack.enter_async_context(_session(force_close=True))
            kept = [await stack.enter_async_context(_session()) for _ in range(KEPT)]
            sending = await stack.enter_async_context(asyncio.TaskGroup())
            sessions = itertools.cycle([each for one in kept for each in (one, new)])
            start = time.monotonic()
            for number in range(self._limit):
                if self._stop.is_set():
                    break
                await asyncio.sleep(start + number / self._rate - time.monotonic())
                sending.create_task(self._send(next(sessions)))

    async def _send(self, session: aiohttp.ClientSession) -> None:
        sent = time.monotonic()
        self.outcomes.longest_idle = max(
            self.outcomes.longest_idle, sent - self._used.setdefault(session, sent)
        )
        self._used[session] = sent
        try:
            async with session.post(self._url, json=self._body) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.outcomes.failures[type(error).__name__] += 1
            return
        self.outcomes.statuses[answer.status] += 1
        self.outcomes.seconds.append(time.monotonic() - sent)
        if answer.status == HTTPStatus.OK:
            self.outcomes.versions[json.loads(content)["version"]] += 1


def _session(*, force_close: bool = False) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, force_close=force_close)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS))
