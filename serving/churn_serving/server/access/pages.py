"""What browsers do for other people's pages: which names are ours, and whose pages may read answers."""

from collections.abc import Sequence

import msgspec

from churn_serving.server.http import Header, Reply, RequestError
from churn_serving.settings import Settings, listed

_ALLOWED: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (
        b"access-control-allow-headers",
        b"authorization, content-encoding, content-type, inference-header-content-length, x-api-key",
    ),
    (b"access-control-max-age", b"600"),
)
_EXPOSED = (
    b"access-control-expose-headers",
    b"inference-header-content-length, retry-after, www-authenticate",
)
_VARY = (b"vary", b"origin")


class Pages:
    """The rules, as the settings have them. Cookies count nowhere, so credentials are never allowed."""

    def __init__(self, settings: Settings) -> None:
        hosts = [host.lower() for host in listed(settings.allowed_hosts)]
        self._hosts = frozenset(host for host in hosts if not host.startswith("*."))
        self._suffixes = tuple(host[1:] for host in hosts if host.startswith("*."))
        self._origins = frozenset(origin.lower().encode() for origin in listed(settings.cors_origins))

    def check_host(self, headers: Sequence[Header]) -> None:
        """Refuse names that are not ours: a page may have its own name point here, to read what it must not.

        Raises:
            RequestError: 421.
        """
        if not self._hosts and not self._suffixes:
            return
        host = _host_of(headers)
        if host not in self._hosts and not host.endswith(self._suffixes or ("\0",)):
            raise RequestError(421, "misdirected", "this server does not go by the name in the Host header")

    def preflight(self, method: str, headers: Sequence[Header]) -> Reply | None:
        """The answer to a browser that asks whether a page may ask; None where this is no such question."""
        if method != "OPTIONS" or not self._origins:
            return None
        asks = any(name == b"access-control-request-method" for name, _ in headers)
        if not asks or not self._granted(headers):
            return None
        return self.tell(Reply(200, b"", b"text/plain", _ALLOWED), headers)

    def tell(self, reply: Reply, headers: Sequence[Header]) -> Reply:
        """The same answer, with what lets the page read it."""
        if not self._origins:
            return reply
        return msgspec.structs.replace(reply, headers=(*reply.headers, *self.grant(headers)))

    def grant(self, headers: Sequence[Header]) -> tuple[Header, ...]:
        """The headers of an answer that let the page read it."""
        granted = self._granted(headers) if self._origins else None
        if granted is None:
            return (_VARY,) if self._origins else ()
        allowed = ((b"access-control-allow-origin", granted), _EXPOSED)
        return allowed if granted == b"*" else (*allowed, _VARY)

    def _granted(self, headers: Sequence[Header]) -> bytes | None:
        if b"*" in self._origins:
            return b"*"
        origins = [value for name, value in headers if name == b"origin"]
        return origins[0] if len(origins) == 1 and origins[0].lower() in self._origins else None


def _host_of(headers: Sequence[Header]) -> str:
    """The name in the Host header, which the connection has found to be one, without its port."""
    host = next((value for name, value in headers if name == b"host"), b"").decode("latin-1").lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
