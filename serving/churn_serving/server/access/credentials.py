"""What a request shows to be let in, and the answer where that will not do."""

from collections.abc import Sequence

from churn_serving.server.http import Header, RequestError

_REALM = 'Bearer realm="churn-serving"'


def credential_of(headers: Sequence[Header], *, api_key: bool) -> bytes | None:
    """The bearer token, or where `api_key` the value of X-API-Key; None where there is neither.

    Raises:
        RequestError: 401, there are several, or the scheme is another. A proxy may look at one of them and
            this server at the other.
    """
    found: list[bytes] = []
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise unauthenticated("the Authorization header must be: Bearer, and the key or token")
            found.append(token.strip())
        elif api_key and name == b"x-api-key":
            found.append(value)
    if len(found) > 1:
        raise unauthenticated("send one key or token, in one header")
    return found[0] if found and found[0] else None


def unauthenticated(message: str, *, shown: bool = True) -> RequestError:
    """401. `shown`: there was a credential, and it is no good (RFC 6750 §3.1)."""
    challenge = f'{_REALM}, error="invalid_token"' if shown else _REALM
    headers = ((b"www-authenticate", challenge.encode()),)
    return RequestError(401, "unauthenticated", message, headers=headers)


def forbidden(message: str, scope: str) -> RequestError:
    """403: it is known who asks, and they may not."""
    challenge = f'{_REALM}, error="insufficient_scope", scope="{scope}"'
    return RequestError(403, "forbidden", message, headers=((b"www-authenticate", challenge.encode()),))
