"""The Lease against a server that keeps one as the API server does: by version, first come, first served."""

import copy
from typing import Any

import pytest

from churn_operator.errors import ConflictError, NotFoundError, UnreachableError
from churn_operator.runtime import lease as lease_module
from churn_operator.runtime.lease import HELD_SHARE, Lease

SECONDS = 15


class Server:
    """Keeps the Lease. `cut` loses the answer to the next write after it was done."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.down = self.cut = False
        self.writes = 0

    async def get(self, *_: Any) -> dict[str, Any]:
        self._answer()
        if self.lease is None:
            raise NotFoundError(404, "there is none")
        return copy.deepcopy(self.lease)

    async def create(self, _: Any, obj: dict[str, Any], __: str) -> dict[str, Any]:
        self._answer()
        if self.lease:
            raise ConflictError(409, "exists")
        return self._keep({"metadata": {}, "spec": obj["spec"]})

    async def patch(self, *args: Any, **_: Any) -> dict[str, Any]:
        self._answer()
        body = args[3]
        if self.lease is None or body["metadata"] != self.lease["metadata"]:
            raise ConflictError(409, "changed")
        return self._keep({"metadata": {}, "spec": self.lease["spec"] | body["spec"]})

    async def close(self) -> None:
        pass

    @property
    def holder(self) -> str:
        assert self.lease
        return str(self.lease["spec"]["holderIdentity"])

    def _answer(self) -> None:
        if self.down:
            raise UnreachableError(0, "no answer")

    def _keep(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        lease["metadata"]["resourceVersion"] = str(self.writes)
        self.lease = lease
        if self.cut:
            self.cut = False
            raise UnreachableError(0, "the answer was lost")
        return copy.deepcopy(lease)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "elapsed", clock)
    return clock


@pytest.fixture
def server() -> Server:
    return Server()


def instance(server: Server, name: str) -> Lease:
    return Lease(server, ("ops", "churn"), SECONDS, name)  # type: ignore[arg-type]


async def test_the_first_one_gets_it_and_the_second_waits(server: Server, clock: Clock):
    one, two = instance(server, "one"), instance(server, "two")
    await one._take_or_renew()
    await two._take_or_renew()
    assert (one.held(), two.held(), server.holder) == (True, False, "one")


async def test_of_two_that_reach_for_it_at_once_one_gets_it(server: Server, clock: Clock):
    one, two = instance(server, "one"), instance(server, "two")
    await one._take_or_renew()
    await one.give_back()
    seen = await server.get()
    await two._write(seen, "two")
    with pytest.raises(ConflictError):
        await one._write(seen, "one")
    assert server.holder == "two"


async def test_who_renews_keeps_it(server: Server, clock: Clock):
    one, two = instance(server, "one"), instance(server, "two")
    for _ in range(50):
        await one._take_or_renew()
        await two._take_or_renew()
        clock.now += SECONDS / 3
    assert (one.held(), two.held()) == (True, False)


async def test_the_holder_has_stopped_long_before_another_may_take_it(server: Server, clock: Clock):
    one, two = instance(server, "one"), instance(server, "two")
    await one._take_or_renew()
    await two._take_or_renew()
    clock.now += SECONDS * HELD_SHARE
    await two._take_or_renew()
    assert (one.held(), two.held()) == (False, False)
    clock.now += SECONDS * (1 - HELD_SHARE) + 0.1
    await two._take_or_renew()
    assert (one.held(), two.held(), server.holder) == (False, True, "two")


async def test_who_was_frozen_finds_it_taken(server: Server, clock: Clock):
    one, two = instance(server, "one"), instance(server, "two")
    await one._take_or_renew()
    await two._take_or_renew()
    clock.now += 60
    await two._take_or_renew()
    assert not one.held()
    with pytest.raises(ConflictError):
        await one._take_or_renew()
    await one._take_or_renew()
    assert (one.held(), two.held()) == (False, True)


async def test_the_time_of_a_request_counts_against_the_holder(server: Server, clock: Clock):
    """What another sees first may be the start of a request whose answer took long."""
    one = instance(server, "one")
    answer = server.create

    async def slow(*args: Any) -> dict[str, Any]:
        clock.now += SECONDS
        return await answer(*args)

    server.create = slow  # type: ignore[method-assign]
    await one._take_or_renew()
    assert server.holder == "one"
    assert not one.held()


@pytest.mark.parametrize("moment", ["1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
async def test_only_that_it_changes_counts_and_not_what_its_clock_says(
    server: Server, clock: Clock, moment: str
):
    two = instance(server, "two")
    spec = {"holderIdentity": "one", "leaseDurationSeconds": SECONDS, "renewTime": moment}
    server.lease = {"metadata": {"resourceVersion": "7"}, "spec": spec}
    await two._take_or_renew()
    assert not two.held()
    clock.now += SECONDS + 0.1
    await two._take_or_renew()
    assert two.held()


async def test_given_back_it_is_free_at_once(server: Server, clock: Clock):
    one, two = instance(server, "one"), instance(server, "two")
    await one._take_or_renew()
    await one.give_back()
    assert not one.held()
    await two._take_or_renew()
    assert two.held()


async def test_what_is_not_held_is_not_given_back(server: Server, clock: Clock):
    one, two = instance(server, "one"), instance(server, "two")
    await one._take_or_renew()
    await two.give_back()
    assert (one.held(), server.holder) == (True, "one")


async def test_a_renewal_whose_answer_was_lost_costs_one_more_try(server: Server, clock: Clock):
    one = instance(server, "one")
    await one._take_or_renew()
    server.cut = True
    with pytest.raises(UnreachableError):
        await one._take_or_renew()
    assert one.held()
    clock.now += SECONDS * HELD_SHARE
    await one._take_or_renew()
    assert one.held()


async def test_a_server_that_is_away_ends_the_right_and_its_return_brings_it_back(
    server: Server, clock: Clock
):
    one = instance(server, "one")
    await one._take_or_renew()
    server.down = True
    clock.now += SECONDS
    with pytest.raises(UnreachableError):
        await one._take_or_renew()
    assert not one.held()
    server.down = False
    await one._take_or_renew()
    assert one.held()


async def test_a_lease_that_somebody_deleted_is_made_again(server: Server, clock: Clock):
    one = instance(server, "one")
    await one._take_or_renew()
    server.lease = None
    with pytest.raises(ConflictError):
        await one._take_or_renew()
    await one._take_or_renew()
    assert (one.held(), server.holder) == (True, "one")


async def test_each_change_of_hands_is_counted(server: Server, clock: Clock):
    for name in ("one", "two", "two", "one"):
        taker = instance(server, name)
        await taker._take_or_renew()
        await taker.give_back()
    assert server.lease
    assert server.lease["spec"]["leaseTransitions"] == 4
