"""TLS on the ports of clients: each new connection gets the certificate that lies there at that moment."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from churn_serving.errors import ConfigInvalidError
from churn_serving.server.mounted import Mounted

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from churn_serving.settings import Settings

HTTP1, HTTP2 = "http/1.1", "h2"  # as clients ask for them (ALPN)

Certificate = Mounted[dict[str, ssl.SSLContext]]
"""A context for each protocol."""


def open_certificate(settings: Settings) -> Certificate | None:
    """The certificate and its key, to be followed; None where there are none.

    Raises:
        ConfigInvalidError: They are missing, broken or not a pair.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    paths = settings.tls_certificate, settings.tls_key
    return Mounted("certificate", paths, partial(_read, *paths))


class TlsServer(uvicorn.Server):
    """uvicorn, with a certificate that may change and a deadline of handshakes."""

    def __init__(self, config: uvicorn.Config, certificate: Certificate, handshake_seconds: float) -> None:
        super().__init__(config)
        self._certificate, self._handshake_seconds = certificate, handshake_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # As uvicorn's own, which waits a minute for a client to say who it is.
        protocol = partial(
            self.config.http_protocol_class,
            config=self.config,  # type: ignore[call-arg]
            server_state=self.server_state,
            app_state={},
        )
        self.servers = [
            await asyncio.get_running_loop().create_server(
                protocol,
                sock=each,
                backlog=self.config.backlog,
                ssl=listening(self._certificate, HTTP1),
                ssl_handshake_timeout=self._handshake_seconds,
            )
            for each in sockets or ()
        ]
        self.started = True


def listening(certificate: Certificate, protocol: str) -> ssl.SSLContext:
    """To listen with, for as long as the process lives.

    Args:
        certificate: Looked at in each handshake.
        protocol: That the port speaks, one of those above.
    """
    context = _context(protocol)

    def use_newest(connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = certificate.value[protocol]

    # Called in each handshake, also where the client names no server.
    context.sni_callback = use_newest
    return context


def _read(certificate: Path, key: Path) -> dict[str, ssl.SSLContext]:
    return {protocol: _load(protocol, certificate, key) for protocol in (HTTP1, HTTP2)}


def _load(protocol: str, certificate: Path, key: Path) -> ssl.SSLContext:
    # A context for each pair: a bad one loaded into the context in use would leave that half changed.
    context = _context(protocol)
    try:
        # Without a password of ours OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        message = f"the certificate in {certificate} and the key in {key} cannot be used: {why}"
        raise ConfigInvalidError(message) from None
    return context


def _context(protocol: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([protocol])
    return context
