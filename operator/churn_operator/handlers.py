"""What kopf calls, and how kopf is set: decorators only. It brings the ChurnModels and writes nothing."""

from collections.abc import Callable
from typing import Any

import kopf

from churn_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
from churn_operator.login import Login, Session
from churn_operator.runtime.client import PAGE

WATCH_SECONDS = 110
"""kopf tells nobody of bookmarks: that its watch lives is seen where it begins anew."""
REQUEST_SECONDS = 30.0
SILENCE_SECONDS = 75.0
"""As for the watches of children: a bookmark a minute is the least."""
IDLE_SECONDS = 0.2
"""How long kopf keeps a task for each object that it has brought: after a list of thousands, thousands."""


def build_registry(seen: Callable[[str | None, dict[str, Any]], None], login: Login) -> kopf.OperatorRegistry:
    """Handlers that call `seen` with the type (None for a listed one) and body of each ChurnModel's event."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True  # no watch of CRDs and namespaces: needs rights that we do without
        settings.process.ultimate_exiting_timeout = (
            None  # would kill the process minutes after kopf restarted
        )
        settings.networking.request_timeout = REQUEST_SECONDS
        settings.networking.error_backoffs = (1, 2, 4, 8)  # then it ends, and is started again
        settings.watching.server_timeout = WATCH_SECONDS
        settings.watching.client_timeout = WATCH_SECONDS + 10
        settings.watching.inactivity_timeout = SILENCE_SECONDS
        settings.watching.reconnect_backoff = 0.5  # a proxy that closes at once must not make it spin
        settings.watching.chunk_size = PAGE
        settings.queueing.idle_timeout = IDLE_SECONDS
        settings.persistence.finalizer = f"{GROUP}/never-set"
        settings.persistence.diffbase_storage = NoDiffBase()

    @kopf.on.login(registry=registry)
    async def log_in_as_the_client_does(**_: Any) -> Session:
        return await login.log_in()

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
