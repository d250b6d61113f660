"""Ports of this machine, chosen before what listens on them starts."""

import itertools
import random
import socket
from contextlib import suppress

from churn_dev.errors import DevError

FIRST, LAST = 20_000, 29_999
"""Below those that the kernel gives to connections that leave and that Services open on nodes: either may
take a port between its choice and its use."""
_turns = itertools.count(random.randrange(FIRST, LAST))  # noqa: S311  # spreads, hides nothing
"""A port that was chosen a moment ago may be free yet: the next is another. Each process begins elsewhere."""


def free_port(address: str = "127.0.0.1") -> int:
    """A port on which nothing listens.

    Raises:
        DevError: There is none.
    """
    ports = range(FIRST, LAST + 1)
    for turn in itertools.islice(_turns, len(ports)):
        port = ports[turn % len(ports)]
        with socket.socket() as tried:
            try:
                tried.bind((address, port))
            except OSError:
                continue
        return port
    raise DevError(f"no free port on {address} from {FIRST} to {LAST}")


def listens(address: str, port: int) -> bool:
    """Whether a connection to it stands."""
    with suppress(OSError):
        socket.create_connection((address, port), timeout=5).close()
        return True
    return False
