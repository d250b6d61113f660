"""What kopf calls, and how kopf is set: decorators only. It brings the ChurnModels and writes nothing."""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import kopf

from churn_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
from churn_operator.runtime.client import USER_AGENT

WATCH_SECONDS = 110
"""kopf tells nobody of bookmarks: that its watch lives is seen where it begins anew."""


@dataclass(frozen=True)
class Connection(kopf.ConnectionInfo):
    """How kopf reaches the API server, under our name."""

    def as_http_headers(self) -> dict[str, str]:
        return super().as_http_headers() | {"User-Agent": f"{USER_AGENT} (kopf)"}

    def as_ssl_context(self) -> ssl.SSLContext:
        context = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as the client does: see connection()
        return context

    def open(self, heard: Callable[[bool], None]) -> kopf.AiohttpSession:
        """A session for kopf that calls `heard` at the end of each request: whether there was an answer."""

        async def answered(*_: Any) -> None:  # awaited by aiohttp
            heard(True)

        async def failed(*_: Any) -> None:
            heard(False)

        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(answered)
        trace.on_request_exception.append(failed)
        connector = aiohttp.TCPConnector(limit=0, ssl=self.as_ssl_context())
        session = aiohttp.ClientSession(
            connector=connector,
            headers=self.as_http_headers(),
            proxy=self.proxy_url,
            trace_configs=[trace],
        )
        return kopf.AiohttpSession(server=self.server, aiohttp_session=session)


def build_registry(
    seen: Callable[[str | None, dict[str, Any]], None], log_in: Callable[[], Awaitable[kopf.AiohttpSession]]
) -> kopf.OperatorRegistry:
    """Handlers that call `seen` with the type (None for a listed one) and body of each ChurnModel's event."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True  # no watch of CRDs and namespaces: needs rights that we do without
        settings.process.ultimate_exiting_timeout = (
            None  # would kill the process minutes after kopf restarted
        )
        settings.networking.request_timeout = 30
        settings.networking.error_backoffs = (1, 2, 4, 8)  # then it ends, and is started again
        settings.watching.server_timeout = WATCH_SECONDS
        settings.watching.client_timeout = WATCH_SECONDS + 10
        settings.watching.reconnect_backoff = 0.5  # a proxy that closes at once must not make it spin
        settings.persistence.finalizer = f"{GROUP}/never-set"
        settings.persistence.diffbase_storage = NoDiffBase()

    @kopf.on.login(registry=registry)
    async def log_in_as_the_client_does(**_: Any) -> kopf.AiohttpSession:
        return await log_in()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def churnmodel(type: str | None, event: kopf.RawEvent, **_: Any) -> None:  # noqa: A002  # kopf's name
        seen(type, dict(event["object"]))

    return registry


class NoDiffBase(kopf.DiffBaseStorage):
    """kopf compares every event with the last one handled; nothing here asks for that."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass
