"""What a request must show before anything else of it is looked at: the same on every way to an answer."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from churn_serving.errors import ConfigInvalidError
from churn_serving.server.access.caller import ANYBODY, Caller
from churn_serving.server.access.pages import Pages
from churn_serving.server.http import Header
from churn_serving.server.mounted import Mounted
from churn_serving.settings import Settings


class Credentials(Protocol):
    """Knows callers by what they show."""

    def identify(self, headers: Sequence[Header]) -> Caller:
        """Raises: RequestError: 401 or 403."""


class Gate:
    """Lets callers in.

    Attributes:
        pages: What browsers are told.
        mounted: The files that say who they are, to be followed.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises: ConfigInvalidError: Such a file is missing or not valid."""
        self.pages = Pages(settings)
        self._credentials = _open_credentials(settings)
        self._open = self._credentials is None and not settings.allowed_hosts
        self.mounted = () if self._credentials is None else (self._credentials,)

    def admit(self, headers: Sequence[Header]) -> Caller:
        """Who asks over HTTP, by a name of ours.

        Raises:
            RequestError: 421, 401 or 403.
        """
        if self._open:  # the usual case costs a request one look
            return ANYBODY
        self.pages.check_host(headers)
        return self.identify(headers)

    def identify(self, headers: Sequence[Header]) -> Caller:
        """Who asks.

        Raises:
            RequestError: 401 or 403.
        """
        return ANYBODY if self._credentials is None else self._credentials.value.identify(headers)


def _open_credentials(settings: Settings) -> Mounted[Credentials] | None:
    if settings.auth == "keys":
        from churn_serving.server.access.keys import Keys

        return _follow("keys", settings.auth_keys, Keys)
    if settings.auth == "jwt":
        # Its cryptography takes a tenth of a second to import: who does not ask for it does not pay.
        from churn_serving.server.access.tokens import Tokens

        return _follow("jwks", settings.auth_jwks, partial(Tokens, settings=settings))
    return None


def _follow(name: str, path: Path | None, read: Callable[[Path], Credentials]) -> Mounted[Credentials]:
    if path is None:
        raise ConfigInvalidError(f"--auth {name} needs its file")
    return Mounted(name, (path,), partial(read, path))
