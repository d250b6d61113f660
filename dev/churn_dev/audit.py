"""Who asked what of the API server: counts from the audit log (Metadata level)."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

_CREDENTIAL = "authentication.kubernetes.io/credential-id"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Request:
    """One finished request.

    Attributes:
        ended: in seconds since the epoch.
        continues: whether it goes on with a list that began before.
        group: of the API; empty for the core's.
    """

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    ended: float = 0.0
    continues: bool = False
    group: str = ""

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES

    @property
    def is_event(self) -> bool:
        """Whether it is about an Event object, which request budgets leave aside."""
        return self.resource == "events"

    @property
    def target(self) -> str:
        """Resource and subresource, as `churnmodels/status`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def __str__(self) -> str:
        return f"{self.verb} {self.target} {self.code}"


class AuditLog:
    """The audit log from the moment this was made: earlier requests do not count.

    Args:
        path: the API server's audit log.
        user_agent: how the user agents of the counted requests begin.
        credential: the token's id, where only requests with that token count.
    """

    def __init__(self, path: Path, user_agent: str, credential: str = "") -> None:
        self._path = path
        self._user_agent = user_agent
        self._credential = credential
        self._start = path.stat().st_size

    def requests(self) -> list[Request]:
        """Requests finished since then; a watch counts once it ended."""
        return list(self._read())

    def writes(self) -> list[Request]:
        """The requests that could change something."""
        return [request for request in self._read() if request.is_write]

    def count(self) -> Counter[str]:
        """Requests by verb, resource and code."""
        return Counter(str(request) for request in self._read())

    def settle(self, quiet_seconds: float) -> list[Request]:
        """Waits until there was no write for a while; all of them."""
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < quiet_seconds:
            if (count := len(self.writes())) != seen:
                seen, since = count, time.monotonic()
            time.sleep(0.1)
        return self.writes()

    def _read(self) -> Iterator[Request]:
        for line in whole_lines(self._path, self._start):
            event = json.loads(line)
            if event["stage"] == "ResponseComplete" and self._counts(event):
                yield _request(event)

    def _counts(self, event: dict[str, Any]) -> bool:
        if not event.get("userAgent", "").startswith(self._user_agent):
            return False
        extra = event.get("user", {}).get("extra", {})
        return not self._credential or self._credential in extra.get(_CREDENTIAL, ())


def whole_lines(path: Path, start: int = 0) -> Iterator[bytes]:
    """Lines of a log that is being written, from a byte on: no end and no beginning of one."""
    with path.open("rb") as log:
        if start:
            log.seek(start - 1)
            log.readline()
        yield from takewhile(lambda line: line.endswith(b"\n"), log)


def _request(event: dict[str, Any]) -> Request:
    about = event.get("objectRef") or {}
    ended = event.get("stageTimestamp")
    return Request(
        verb=str(event["verb"]),
        resource=about.get("resource", ""),
        subresource=about.get("subresource", ""),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=int((event.get("responseStatus") or {}).get("code", 0)),
        ended=datetime.fromisoformat(ended).timestamp() if ended else 0.0,
        continues="continue=" in event.get("requestURI", ""),
        group=about.get("apiGroup", ""),
    )
