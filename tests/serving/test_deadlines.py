"""A process that stood still does not take its own silence for its clients'."""

import asyncio
import socket
import time

import pytest
import uvloop

from churn_serving.server.deadlines import pause

SECONDS = 0.05


class Heard(asyncio.Protocol):
    """All that came on any connection."""

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard

    def connection_made(self, _transport: asyncio.BaseTransport) -> None:
        self._heard.append(b"opened")

    def data_received(self, data: bytes) -> None:
        self._heard.append(data)


@pytest.mark.parametrize("loop_of", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_what_came_while_the_process_stood_still_is_taken_in_before_a_pause_ends(loop_of: object):
    async def stand_still() -> list[bytes]:
        heard: list[bytes] = []

        async def known_after_a_pause() -> list[bytes]:
            await pause(SECONDS)
            return list(heard)

        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: Heard(heard), "127.0.0.1", 0) as server:
            pausing = asyncio.create_task(known_after_a_pause())
            await asyncio.sleep(0)
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                client.sendall(b"a request")
                time.sleep(2 * SECONDS)  # noqa: ASYNC251  # the whole process does
                return await pausing

    with asyncio.Runner(loop_factory=loop_of) as runner:  # type: ignore[arg-type]
        assert runner.run(stand_still()) == [b"opened", b"a request"]
