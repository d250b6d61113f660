"""Callers by API key."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from churn_serving.keyfile import read_keys
from churn_serving.server.access.caller import Caller
from churn_serving.server.access.credentials import credential_of, unauthenticated
from churn_serving.server.http import Header


class Keys:
    """The keys of one file, as it was."""

    def __init__(self, path: Path) -> None:
        """Raises: ConfigInvalidError: The file is missing or not one of keys."""
        self._callers = {
            bytes.fromhex(key.sha256): Caller(key.name, key.name, rate=key.rate, burst=key.burst)
            for key in read_keys(path)
        }

    def identify(self, headers: Sequence[Header]) -> Caller:
        """Whose key it is.

        How long the look-up takes may tell of digests that begin alike. It tells nothing of keys: nobody can
        choose a key by its digest, so no guess gets nearer to one.

        Raises:
            RequestError: 401.
        """
        key = credential_of(headers, api_key=True)
        if key is None:
            message = "send an API key in the header Authorization: Bearer KEY, or X-API-Key: KEY"
            raise unauthenticated(message, shown=False)
        caller = self._callers.get(hashlib.sha256(key).digest())
        if caller is None:
            raise unauthenticated("this API key is not known: it was revoked, or is not for this model")
        return caller
