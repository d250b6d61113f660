"""How kopf reaches the API server: as the client does, under our name, and never in a spin."""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import kopf

from churn_operator.errors import UnreachableError
from churn_operator.runtime.client import USER_AGENT, connection

SHORT_WATCH_SECONDS = 1.0
SHORT_WATCHES = 3
"""So many in a row that were asked for this soon after one another end kopf, which is then started again."""


@dataclass(frozen=True, kw_only=True)
class Session(kopf.AiohttpSession):
    """A way in. Two with the same token are the same: kopf does not try again what was refused."""

    aiohttp_session: aiohttp.ClientSession = field(compare=False)
    token: str | None


@dataclass(frozen=True)
class Connection(kopf.ConnectionInfo):
    """What kopf would make a session of."""

    def as_http_headers(self) -> dict[str, str]:
        return super().as_http_headers() | {"User-Agent": f"{USER_AGENT} (kopf)"}

    def as_ssl_context(self) -> ssl.SSLContext:
        context = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as the client does: see connection()
        return context


class Login:
    """Logs kopf in, for one of its lives; `heard` is told at each request's end whether it was answered."""

    def __init__(self, heard: Callable[[bool], None]) -> None:
        self.watching = False  # whether kopf has asked for a watch
        self._heard = heard
        self._session: Session | None = None
        self._watched_at = -SHORT_WATCH_SECONDS
        self._short_watches = 0

    async def log_in(self) -> Session:
        """The client's own way in. The token is read afresh: kopf asks again when it is refused."""
        configuration = await connection()
        bearer = configuration.api_key.get("BearerToken", "")
        info = Connection(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            proxy_url=configuration.proxy,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            token=bearer.removeprefix("bearer ").removeprefix("Bearer ") or None,
        )
        if self._session is None or self._session.token != info.token:
            self._session = Session(server=info.server, token=info.token, aiohttp_session=self._open(info))
        return self._session

    def _open(self, info: Connection) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._look_at)
        trace.on_request_end.append(self._answered)
        trace.on_request_exception.append(self._failed)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            trace_configs=[trace],
        )

    async def _answered(self, *_: Any) -> None:
        self._heard(True)

    async def _failed(self, *_: Any) -> None:
        self._heard(False)

    async def _look_at(self, _: Any, __: Any, request: aiohttp.TraceRequestStartParams) -> None:
        """Ends kopf where its watches end at once: it would ask on without a pause, and never list again."""
        if "watch" not in request.url.query:
            return
        self.watching = True
        now = time.monotonic()
        short = now - self._watched_at < SHORT_WATCH_SECONDS
        self._watched_at, self._short_watches = now, self._short_watches + 1 if short else 0
        if self._short_watches >= SHORT_WATCHES:
            raise UnreachableError(0, "the watch of churnmodels ends at once, again and again")
