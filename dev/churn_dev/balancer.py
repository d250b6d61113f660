"""A load balancer as a Service is one: new connections go to members that were ready when last looked at.

It learns late and it breaks nothing off: connections that it made stay where they are.
"""

import asyncio
import itertools
import threading
from contextlib import suppress
from typing import Self

from churn_dev.background import Background
from churn_dev.served import Served

LOOKS_EVERY_SECONDS = 0.5


class Balancer(Background):
    """Balances while the `with` block runs, from a thread with its own event loop.

    Attributes:
        members: Servers, which may be replaced while it runs.
        url: Where it listens.
    """

    def __init__(self, *members: Served) -> None:
        super().__init__("balancer")
        self.members = members
        self.url = ""
        self._ready: tuple[Served, ...] = members
        self._turns = itertools.count()
        self._listens = threading.Event()

    def __enter__(self) -> Self:
        super().__enter__()
        self._listens.wait()
        return self

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._listens.set()
        while not self._stop.is_set():
            members = self.members
            ready = await asyncio.gather(*map(_is_ready, members))
            self._ready = tuple(itertools.compress(members, ready)) or self._ready
            await asyncio.sleep(LOOKS_EVERY_SECONDS)
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        member = self._ready[next(self._turns) % len(self._ready)]
        try:
            upstream, downstream = await asyncio.open_connection("127.0.0.1", member.port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, downstream), _pass_on(upstream, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _is_ready(member: Served) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", member.metrics_port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.readline()
        writer.close()
    except OSError:
        return False
    return b" 200 " in answer
