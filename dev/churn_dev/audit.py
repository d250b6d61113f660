"""Who asked what of the API server: counts from the audit log (Metadata level)."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Request:
    """One finished request."""

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int

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
    """

    def __init__(self, path: Path, user_agent: str) -> None:
        self._path = path
        self._user_agent = user_agent
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

    def _read(self) -> Iterator[Request]:
        with self._path.open("rb") as log:
            log.seek(self._start)
            for line in log:
                if not line.endswith(b"\n"):
                    return
                event = json.loads(line)
                if event["stage"] == "ResponseComplete" and event.get("userAgent", "").startswith(
                    self._user_agent
                ):
                    yield _request(event)


def _request(event: dict[str, object]) -> Request:
    reference = event.get("objectRef")
    about = reference if isinstance(reference, dict) else {}
    status = event.get("responseStatus")
    return Request(
        verb=str(event["verb"]),
        resource=about.get("resource", ""),
        subresource=about.get("subresource", ""),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=int(status.get("code", 0)) if isinstance(status, dict) else 0,
    )
