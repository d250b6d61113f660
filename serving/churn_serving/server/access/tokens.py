"""Callers by JWT, verified with the keys of a mounted JWKS file: no issuer is asked, so none can be down."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jwt

from churn_serving.errors import ConfigInvalidError
from churn_serving.server.access.caller import Caller
from churn_serving.server.access.credentials import credential_of, forbidden, unauthenticated
from churn_serving.server.http import Header
from churn_serving.settings import Settings

# Asymmetric ones alone, whatever a token or a key says: with a symmetric one the public key, which anybody
# has, would sign.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
_MAX_BYTES = 1 << 20
_MAX_VERIFIED = 4096
_VERIFIED_SECONDS = 60.0
_REQUIRED = ["exp", "iss", "aud"]
_INVALID = "this token is not valid: a key of this server's issuer must have signed it, unchanged"
_MESSAGES: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "this token has expired",
    jwt.ImmatureSignatureError: "this token is not valid yet",
    jwt.InvalidAudienceError: "this token is meant for another audience",
    jwt.InvalidIssuerError: "this token is another issuer's",
    jwt.MissingRequiredClaimError: f"a token must have {', '.join(_REQUIRED)}",
}


class _Verified(NamedTuple):
    caller: Caller
    until: float


class Tokens:
    """The keys of one JWKS file, as it was, and the tokens lately verified with them."""

    def __init__(self, path: Path, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Raises: ConfigInvalidError: The file is missing or not a JWKS that can verify."""
        self._keys = read_jwks(path)
        self._settings, self._clock = settings, clock
        # By digest: a copy of the memory gives nobody a token. With other keys it begins anew.
        self._verified: dict[bytes, _Verified] = {}

    def identify(self, headers: Sequence[Header]) -> Caller:
        """Whose token it is.

        Raises:
            RequestError: 401, or 403 where it lacks the scope.
        """
        token = credential_of(headers, api_key=False)
        if token is None:
            raise unauthenticated("send a token in the header Authorization: Bearer TOKEN", shown=False)
        digest = hashlib.sha256(token).digest()
        known = self._verified.get(digest)
        if known is not None and self._clock() < known.until:
            return known.caller
        claims = self._verify(token)
        self._check_scope(claims)
        caller = Caller(str(claims.get("sub") or claims.get("client_id") or "unnamed")[:128], "jwt")
        if len(self._verified) >= _MAX_VERIFIED:
            self._verified.clear()
        until = min(int(claims["exp"]), self._clock() + _VERIFIED_SECONDS)
        self._verified[digest] = _Verified(caller, until)
        return caller

    def _verify(self, token: bytes) -> dict[str, Any]:
        settings = self._settings
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            return jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=settings.auth_issuer,
                audience=settings.auth_audience,
                leeway=settings.auth_leeway_seconds,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a token, nobody is let in by it)
            raise unauthenticated(_MESSAGES.get(type(error), _INVALID)) from None

    def _check_scope(self, claims: dict[str, Any]) -> None:
        needed = self._settings.auth_scope
        if needed is None:
            return
        granted = claims.get("scope") or claims.get("scp")  # RFC 8693 §4.2; Microsoft's and Okta's
        if isinstance(granted, str):
            granted = granted.split()
        if not isinstance(granted, list) or needed not in granted:
            raise forbidden(f"this token lacks the scope {needed}", needed)


def read_jwks(path: Path) -> dict[str, jwt.PyJWK]:
    """The keys that verify, by their `kid`; those for other uses are left out (RFC 7517 §5).

    Raises:
        ConfigInvalidError: It is missing or no JWKS, has no such key, two of one `kid`, a weak or a private
            one.
    """
    keys: dict[str, jwt.PyJWK] = {}
    for entry in _entries(path):
        key = _public_key(path, entry)
        if key is not None:
            if key.key_id in keys:
                raise ConfigInvalidError(f"{path.name}: two keys have the kid {key.key_id!r}")
            keys[str(key.key_id)] = key
    if not keys:
        raise ConfigInvalidError(f"{path.name} has no key with a kid for any of {', '.join(ALGORITHMS)}")
    return keys


def _entries(path: Path) -> list[Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigInvalidError(f"the JWKS in {path} cannot be read: {error.strerror}") from None
    try:
        found = json.loads(content) if len(content) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
        raise ConfigInvalidError(f'{path.name} is no JWKS: {{"keys": […]}}, of at most {_MAX_BYTES} bytes')
    return list(found["keys"])


def _public_key(path: Path, entry: Any) -> jwt.PyJWK | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
        return None
    if entry.get("use", "sig") != "sig":
        return None
    if "d" in entry:
        raise ConfigInvalidError(
            f"{path.name}: the key {entry['kid']!r} is a private one; give its public half"
        )
    try:
        key = jwt.PyJWK(entry)
    except Exception:  # noqa: BLE001 (a kind of key that we do not know, or none: it verifies nothing)
        return None
    if key.algorithm_name not in ALGORITHMS:
        return None
    if key.Algorithm.check_key_length(key.key):
        raise ConfigInvalidError(f"{path.name}: the key {entry['kid']!r} is too short to be safe")
    return key
