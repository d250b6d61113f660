"""The API server's clock, as its answers tell it."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio.client.configuration import Configuration

from churn_operator.errors import ServerTroubleError
from churn_operator.kinds import LEASE
from churn_operator.runtime.client import Client
from churn_operator.runtime.clock import SLACK_SECONDS, Clock

THEN = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


class Passing:
    """Seconds that pass when they are told to."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def stamp(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


@pytest.fixture
def passing() -> Passing:
    return Passing()


@pytest.fixture
def clock(passing: Passing) -> Clock:
    """A clock that heard THEN just now."""
    clock = Clock(passing)
    clock.hear(stamp(THEN))
    return clock


def test_it_goes_on_from_what_was_heard(clock: Clock, passing: Passing):
    passing.seconds += 42.5
    assert clock.now() == THEN + timedelta(seconds=42.5)


def test_it_is_the_machines_own_before_anything_was_heard():
    before = datetime.now(UTC)
    assert before <= Clock().now() <= datetime.now(UTC)


@pytest.mark.parametrize("minutes", [-10, -1, 1, 10])
def test_it_follows_a_server_whose_clock_steps(clock: Clock, passing: Passing, minutes: int):
    passing.seconds += 60
    stepped = THEN + timedelta(seconds=60, minutes=minutes)
    clock.hear(stamp(stepped))
    assert clock.now() == stepped


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, SLACK_SECONDS - 1)), min_size=1))
def test_it_never_goes_back_and_is_never_ahead_whatever_answers_take(answers: list[tuple[float, float]]):
    passing = Passing()
    clock, seen = Clock(passing), THEN
    for silence, way in answers:
        sent = THEN + timedelta(seconds=passing.seconds - 1000.0 + silence)
        passing.seconds += silence + way
        clock.hear(stamp(sent))
        arrived = THEN + timedelta(seconds=passing.seconds - 1000.0)
        assert max(seen, arrived - timedelta(seconds=way + 1)) <= clock.now() + timedelta(microseconds=10)
        assert clock.now() <= arrived + timedelta(microseconds=10)
        seen = clock.now()


@pytest.mark.parametrize(
    "date",
    [
        None, "", "now", "Wed, 32 May 2031 07:08:09 GMT", "Fri, 31 Dec 9999 23:59:59 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT", "Tue, 06 May 2031 07:08:09", "Tue, 06 May 2031 09:08:09 +0200",
    ],
)  # fmt: skip
def test_what_is_no_time_in_gmt_is_passed_over(clock: Clock, date: str | None):
    clock.hear(date)
    assert clock.now() == THEN


@settings(deadline=None, max_examples=50)
@given(st.text() | st.datetimes().map(format_datetime))
def test_any_text_leaves_it_a_time(date: str):
    clock = Clock()
    clock.hear(date)
    assert (clock.now() - timedelta(days=365)).tzinfo == UTC


async def test_a_client_goes_by_what_is_answered_and_by_no_page_of_a_proxy():
    """Errors may be of anything on the way, and of any time."""
    answers = iter([("200 OK", THEN), ("503 Service Unavailable", THEN + timedelta(days=1))])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status, moment = next(answers)
        body = b'{"metadata": {"resourceVersion": "1"}}'
        head = f"HTTP/1.1 {status}\r\nDate: {stamp(moment)}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        client = Client(Configuration(host=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        await client.get(LEASE, "shop", "gate")
        with pytest.raises(ServerTroubleError):
            await client.get(LEASE, "shop", "gate")
        await client.close()
    assert THEN <= client.now() < THEN + timedelta(hours=1)
