"""The right to write, for one instance at a time: a Lease that is taken, renewed and given back.

Never compares clocks of two machines: a Lease counts as left once it was seen unchanged for its whole
duration, and its holder stops writing well before that. As client-go does, but given back on every stop.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

import structlog

from churn_operator.errors import ApiError, NotFoundError
from churn_operator.kinds import LEASE
from churn_operator.metrics import LEADER
from churn_operator.names import FIELD_MANAGER
from churn_operator.runtime.client import MERGE_PATCH, Client
from churn_operator.runtime.clock import elapsed

log = structlog.get_logger()

HELD_SHARE = 2 / 3
"""Of its duration a holder writes for so long after its last renewal; others wait for all of it."""
RENEW_SHARE = 2 / 15
"""A holder renews every 2 s of 15."""
LOOK_SECONDS = 1.0
"""How often one that waits looks: a Lease that is given back is taken within this time."""
GIVE_BACK_SECONDS = 5.0
"""A busy API server gets the time: else nobody writes before the Lease has run out."""


class Right(Protocol):
    """The right to write."""

    def held(self) -> bool:
        """Whether this instance may write now."""

    async def run(self, won: Callable[[], None]) -> NoReturn:
        """Gets the right and keeps it, until cancelled. Calls `won` each time that it was got."""

    async def give_back(self) -> None:
        """Lets another instance write at once. After `run` was cancelled."""


class Alone:
    """The right of a single instance: it needs no Lease."""

    def __init__(self) -> None:
        LEADER.labels(name="").set(1)

    def held(self) -> bool:
        return True

    async def run(self, won: Callable[[], None]) -> NoReturn:
        won()
        while True:
            await asyncio.Event().wait()

    async def give_back(self) -> None:
        pass


class Lease:
    """The right of the one that holds the Lease.

    Args:
        client: Its own: renewals must not queue behind the writes that they allow.
        place: Namespace and name of the Lease.
        seconds: Its duration.
        identity: Of this process, not of its pod: a container that started again holds nothing.
    """

    def __init__(self, client: Client, place: tuple[str, str], seconds: int, identity: str) -> None:
        self._client = client
        self._place = place
        self._seconds = seconds
        self._identity = identity
        self._until = -math.inf
        self._mine: dict[str, Any] | None = None  # the Lease as our last write left it
        self._seen: tuple[dict[str, Any], float] = ({}, 0.0)  # what another wrote, and since when it stands
        LEADER.labels(name=place[1]).set_function(lambda: float(self.held()))

    def held(self) -> bool:
        """Whether this instance may write now."""
        return elapsed() < self._until

    async def run(self, won: Callable[[], None]) -> NoReturn:
        """Takes the Lease when it is free and renews it, until cancelled. Calls `won` each time it got it."""
        while True:
            held = self.held()
            try:
                async with asyncio.timeout(self._seconds / 3):
                    await self._take_or_renew()
            except (ApiError, TimeoutError) as error:
                log.warning("Lease neither taken nor renewed", lease=self._place[1], error=str(error))
            if self.held() and not held:
                log.info("Leading", lease=self._place[1], identity=self._identity)
                won()
            elif held and not self.held():
                log.warning("No longer leading", lease=self._place[1], identity=self._identity)
            await asyncio.sleep(self._seconds * RENEW_SHARE if self.held() else LOOK_SECONDS)

    async def give_back(self) -> None:
        """Empties the Lease if it is ours. Best effort: it runs out by itself."""
        self._until = -math.inf
        with contextlib.suppress(ApiError, TimeoutError):
            async with asyncio.timeout(GIVE_BACK_SECONDS):
                lease = self._mine or await self._client.get(LEASE, *self._place)
                if lease["spec"].get("holderIdentity") == self._identity:
                    await self._write(lease, "")
        await self._client.close()

    async def _take_or_renew(self) -> None:
        began = elapsed()
        lease, self._mine = self._mine or await self._read(), None  # unknown while a write is on its way
        if lease is None:
            body = LEASE.named(*self._place) | {"spec": self._spec({}, self._identity)}
            self._mine = await self._client.create(LEASE, body, FIELD_MANAGER)
        elif self._is_free(lease):
            self._mine = await self._write(lease, self._identity)
        else:
            self._until = -math.inf
            return
        self._until = began + self._seconds * HELD_SHARE

    async def _read(self) -> dict[str, Any] | None:
        try:
            return await self._client.get(LEASE, *self._place)
        except NotFoundError:
            return None

    def _is_free(self, lease: dict[str, Any]) -> bool:
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") in {None, "", self._identity}:
            return True
        if spec != self._seen[0]:
            self._seen = (spec, elapsed())
        return elapsed() - self._seen[1] > float(spec.get("leaseDurationSeconds", self._seconds))

    async def _write(self, lease: dict[str, Any], holder: str) -> dict[str, Any]:
        """Writes the Lease of that very version: of two that reach for it, one gets a conflict."""
        body = {
            "metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]},
            "spec": self._spec(lease.get("spec") or {}, holder),
        }
        return await self._client.patch(LEASE, *self._place, body, FIELD_MANAGER, content_type=MERGE_PATCH)

    def _spec(self, before: dict[str, Any], holder: str) -> dict[str, Any]:
        """The Lease's next spec. Its times are for people: nothing here reads them as times."""
        moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = {"holderIdentity": holder, "leaseDurationSeconds": self._seconds, "renewTime": moment}
        if holder and holder != before.get("holderIdentity"):
            spec |= {"acquireTime": moment, "leaseTransitions": int(before.get("leaseTransitions", 0)) + 1}
        return spec
