"""Ports, opened before anything is answered on them."""

import socket

from churn_serving.errors import ConfigInvalidError

BACKLOG = 2048
"""Connections that the kernel keeps until they are accepted."""


def listen(host: str, port: int) -> socket.socket:
    """A port that clients can connect to from now on.

    Raises:
        ConfigInvalidError: It cannot be listened on; the message says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigInvalidError(f"cannot listen on {host} port {port}: {error.strerror}") from None
