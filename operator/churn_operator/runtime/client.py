"""The one adapter over `kubernetes.aio`: plain dicts in and out, typed errors, every request counted."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from churn_operator import __version__
from churn_operator.errors import (
    ApiError,
    ConflictError,
    GoneError,
    KindMissingError,
    NamespaceEndingError,
    NotFoundError,
    NotLeadingError,
    RefusedError,
    ServerTroubleError,
    TooManyRequestsError,
    UnprocessableError,
    UnreachableError,
)
from churn_operator.kinds import Kind
from churn_operator.metrics import REQUESTS
from churn_operator.runtime.clock import Clock

USER_AGENT = f"churn-operator/{__version__}"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PAGE = 100
"""Objects of a list at a time: a page is decoded in one go, and nothing else runs meanwhile."""
CONNECTIONS = 32
"""Eight watches and two dozen requests at a time; each TLS connection costs memory here and on the server."""
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
WATCH_SECONDS = 290
LONGEST_WAIT_SECONDS = 60.0
"""How much of a Retry-After is believed: a proxy may say anything, and watches grow stale meanwhile."""
SILENCE_SECONDS = 75
"""A watch is at least bookmarked once a minute; longer silence means that the connection is dead."""

_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""Characters that JSON may hold bare and YAML may not (YAML 1.2, 5.1); half a surrogate no text may hold."""

# 401: a rotated token is read again within a minute.
_ERRORS: dict[int, type[ApiError]] = {
    401: ServerTroubleError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: UnprocessableError,
    429: TooManyRequestsError,
}


@dataclass(frozen=True)
class WatchEvent:
    """One line of a watch. `type` is ADDED, MODIFIED, DELETED or BOOKMARK; errors are raised."""

    type: str
    object: dict[str, Any]


async def connection() -> Configuration:
    """How to reach the API server: the pod's service account, else KUBECONFIG or ~/.kube/config.

    Raises:
        ConfigException: There is neither.
    """
    configuration = Configuration()
    if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
        kube_config.load_incluster_config(client_configuration=configuration)
    else:
        path = os.environ.get("KUBECONFIG") or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
        await kube_config.load_kube_config(config_file=str(path), client_configuration=configuration)
    # Python 3.13 refuses authorities without RFC 5280's key identifiers; kubectl and the kubelet take them.
    configuration.disable_strict_ssl_verification = True
    configuration.retries = False  # retries are the queue's; a write repeated unseen is a write not counted
    configuration.connection_pool_maxsize = CONNECTIONS
    # Trusting the environment, aiohttp has a thread look for ~/.netrc, and one for proxies, at each request.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    return configuration


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for `url`."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def _always() -> bool:
    return True


class Client:
    """Requests to the API server. All methods raise the errors of `churn_operator.errors`.

    Args:
        configuration: How to reach it; this client's own.
        may_write: Asked right before each write is sent; False turns it into `NotLeadingError`.
        agent: What it calls itself.
    """

    def __init__(
        self, configuration: Configuration, may_write: Callable[[], bool] = _always, agent: str = USER_AGENT
    ) -> None:
        configuration.trace_configs = [_asking(may_write)]
        self._api = ApiClient(configuration)
        self._api.user_agent = agent
        self._may_write = may_write
        self._clock = Clock()

    def now(self) -> datetime:
        """The time by the API server's clock, in UTC; by this machine's until it answered."""
        return self._clock.now()

    async def close(self) -> None:
        await self._api.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        return await self._object("GET", kind.path(namespace, name))

    async def pages(
        self, kind: Kind, namespace: str | None, selector: str = "", *, metadata_only: bool = False
    ) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        """All objects, page by page, and the version to watch from. Whole, thousands fill the memory."""
        query = {"labelSelector": selector, "limit": str(PAGE)}
        accept = METADATA_ONLY if metadata_only else "application/json"
        while True:
            page = await self._object("GET", kind.path(namespace), query=query, accept=accept)
            yield page.get("items") or [], page["metadata"]["resourceVersion"]  # null where there is none
            if not page["metadata"].get("continue"):
                return
            query["continue"] = page["metadata"]["continue"]

    async def list(
        self, kind: Kind, namespace: str | None, selector: str = "", *, metadata_only: bool = False
    ) -> tuple[list[dict[str, Any]], str]:
        """All objects, and the version to watch from."""
        items: list[dict[str, Any]] = []
        version = ""
        async for page, listed in self.pages(kind, namespace, selector, metadata_only=metadata_only):
            items += page
            version = listed
        return items, version

    async def apply(
        self, kind: Kind, obj: dict[str, Any], manager: str, subresource: str | None = None
    ) -> dict[str, Any]:
        """Server-side apply, forced: what we name is ours."""
        path = kind.path(obj["metadata"].get("namespace"), obj["metadata"]["name"], subresource)
        query = {"fieldManager": manager, "force": "true"}
        written = f"{APPLY}; charset=utf-8"  # the library sends what is called so as it is
        return await self._object("PATCH", path, query=query, body=as_yaml(obj), content_type=written)

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: Any, manager: str, *, content_type: str
    ) -> dict[str, Any]:
        query = {"fieldManager": manager}
        path = kind.path(namespace, name)
        return await self._object("PATCH", path, query=query, body=body, content_type=content_type)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Deletes that very object, not one that took its name since."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        answer = await self._json("DELETE", kind.path(namespace, name), body=body)
        if "kind" not in answer:  # neither the object nor a Status: nothing says that it was done
            raise UnreachableError(0, f"DELETE of {kind.kind} {name}: the answer is none of an API server")

    async def create(self, kind: Kind, obj: dict[str, Any], manager: str) -> dict[str, Any]:
        path = kind.path(obj["metadata"]["namespace"])
        return await self._object("POST", path, query={"fieldManager": manager}, body=obj)

    async def watch(
        self, kind: Kind, namespace: str | None, selector: str, version: str
    ) -> AsyncIterator[WatchEvent]:
        """Changes since `version`, bookmarks included, until the server ends the stream."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        limits = aiohttp.ClientTimeout(total=None, connect=10, sock_read=SILENCE_SECONDS)
        response = await self._send("GET", kind.path(namespace), query=query, limits=limits, verb="WATCH")
        try:
            async for line in response.content:
                yield _parse_event(line)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UnreachableError(0, f"the watch of {kind.plural} broke: {error!r}") from error
        finally:
            response.close()

    async def _object(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """An object or a list of them; JSON of another shape is no answer of an API server."""
        payload = await self._json(method, path, **request)
        if not _is_object(payload):
            raise UnreachableError(0, f"{method} {path}: the answer is no object of an API server")
        return payload

    async def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT.total):
                response = await self._send(method, path, **request)
                return _parse(await response.read(), response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreachableError(0, f"{method} {path}: {error!r}") from error

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        limits: aiohttp.ClientTimeout | None = None,
        verb: str | None = None,
    ) -> aiohttp.ClientResponse:
        serialized = await self._api.param_serialize(
            method,
            path,
            query_params=[(key, value) for key, value in (query or {}).items() if value],
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        if method != "GET" and not self._may_write():
            raise _not_sent(method, path)
        code = "<error>"
        try:
            answer = await self._api.call_api(*serialized, _request_timeout=limits or REQUEST_TIMEOUT)
            response: aiohttp.ClientResponse = answer.response
            code = str(response.status)
            if response.status < 300:  # an error may be a proxy's, with its own idea of the time
                self._clock.hear(response.headers.get("Date"))
                return response
            raise _error(response.status, _parse(await response.read(), response.status), response.headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error.__cause__, NotLeadingError):
                raise error.__cause__ from error
            raise UnreachableError(0, f"{method} {path}: {error!r}") from error
        finally:
            REQUESTS.labels(code=code, method=verb or method).inc()


def _asking(may_write: Callable[[], bool]) -> aiohttp.TraceConfig:
    """The last look before the wire. A request waits for a connection, and a process may be frozen meanwhile.

    aiohttp tells of the body before it writes the first byte, that of the headers too.
    """

    async def look(_: Any, __: Any, chunk: aiohttp.TraceRequestChunkSentParams) -> None:
        if chunk.method != "GET" and not may_write():
            raise _not_sent(chunk.method, chunk.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(look)
    return trace


def _not_sent(method: str, path: str) -> NotLeadingError:
    return NotLeadingError(0, f"{method} {path} was not sent: another instance may lead by now")


def as_yaml(obj: dict[str, Any]) -> bytes:
    r"""An object as the server reads it for an apply: JSON that is YAML too.

    YAML knows no pairs of surrogates (`\ud83d\ude00` is an error there) and no bare control characters.
    """
    text = json.dumps(obj, ensure_ascii=False)
    return _NOT_YAML.sub(_escaped, text).encode()


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


def _parse(content: bytes, status: int) -> dict[str, Any]:
    """JSON of an answer. What is none (half a reply, a proxy's page) is no answer at all."""
    try:
        payload = json.loads(content)
        if isinstance(payload, dict):
            return payload
    except ValueError:
        pass
    if status >= 500:
        raise ServerTroubleError(status, f"the server answered {status}")
    raise UnreachableError(status, "the answer is not JSON of an API server")


def _parse_event(line: bytes) -> WatchEvent:
    """One line of a watch.

    Raises:
        ApiError: The line tells of an error, or is none of an API server.
    """
    event = _parse(line, 200)
    kind, told = event.get("type"), event.get("object")
    if kind == "ERROR" and isinstance(told, dict):
        raise _error(int(told.get("code") or 500), told, {})
    if not (isinstance(kind, str) and isinstance(told, dict) and _is_object(told)):
        raise UnreachableError(0, "a line of the watch is no event of an API server")
    return WatchEvent(kind, told)


def _is_object(payload: dict[str, Any]) -> bool:
    """Whether it says its version, as every object and every list does."""
    metadata = payload.get("metadata")
    return isinstance(metadata, dict) and str(metadata.get("resourceVersion")).isdecimal()


def _error(status: int, payload: dict[str, Any], headers: Mapping[str, str]) -> ApiError:
    message = str(payload.get("message") or f"the server answered {status}")
    details = payload.get("details")
    if not isinstance(details, dict):
        details = {}
    causes = [cause.get("reason") for cause in details.get("causes") or () if isinstance(cause, dict)]
    if status == 403 and "NamespaceTerminating" in causes:
        return NamespaceEndingError(status, message, reason="Forbidden")
    if status == 404 and not details.get("name"):
        return KindMissingError(status, message, reason="NotFound")
    kind = _ERRORS.get(status, ServerTroubleError if status >= 500 else RefusedError)
    told = str(headers.get("Retry-After") or details.get("retryAfterSeconds"))
    wait = min(float(told), LONGEST_WAIT_SECONDS) if told.isdecimal() else None
    return kind(status, message, reason=str(payload.get("reason", "")), retry_after=wait)
