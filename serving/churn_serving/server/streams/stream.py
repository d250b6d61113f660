"""Answers a stream: reads a part, scores it, writes what it has to say of it, and only then reads on.

So memory stays as it is whatever the size, and who does not read is not read from.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from math import isfinite
from typing import Any, Protocol

from msgspec import UNSET

from churn_serving.features import Fault
from churn_serving.routing import Route
from churn_serving.server.accept import ARROW, CSV, NDJSON, choose_form, content_type_of
from churn_serving.server.failures import too_late, unexpected
from churn_serving.server.http import (
    ClientGoneError,
    Header,
    Pending,
    Receive,
    RequestError,
    Scope,
    Send,
    receive_part,
)
from churn_serving.server.inflate import Inflater, encoding_of
from churn_serving.server.scoring import origin, predict
from churn_serving.server.state import Serving
from churn_serving.server.streams.chunk import Chunk, Entry
from churn_serving.server.streams.forms import Answers, Form, form_of
from churn_serving.server.streams.line_source import LineSource


def is_stream(headers: Sequence[Header]) -> bool:
    """Whether a body is answered while it comes."""
    return content_type_of(headers) in {NDJSON, ARROW}


class Source(Protocol):
    """Cuts a body into what can be answered: cheap, where the rest is the worker's."""

    @property
    def held(self) -> int:
        """Bytes that are kept."""

    def feed(self, piece: bytes) -> Iterable[Any]:
        """What is whole now."""

    def end(self) -> Iterable[Any]:
        """What is left; raises where the stream is cut short."""

    def split(self, whole: Any) -> Sequence[Any]:
        """Parts of it, each of them little work."""

    def encode(self, part: Any, route: Route) -> Chunk:
        """A part as the model takes it."""


def _source(media_type: bytes, serving: Serving) -> Source:
    route = serving.table.routes[0]
    if media_type == ARROW:
        from churn_serving.server.streams.arrow import ArrowSource

        return ArrowSource(route.model.manifest, serving.settings)
    return LineSource(lambda chosen: serving.decoder(chosen, "records"), serving.settings)


class Stream:
    """One stream and its answer.

    Attributes:
        started: Whether the answer has begun: from then on an error is its last record.
        received: Bytes of the body.
        sent: Bytes of the answer's.
    """

    def __init__(
        self, serving: Serving, pending: Pending, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._serving, self._scope, self._receive, self._send = serving, scope, receive, send
        self._pending, self._held = pending, 0
        self._source: Source
        self._form: Form
        self._route: Route | None = None
        self._number = 0
        self.started = False
        self.received = self.sent = 0

    async def answer(self) -> None:
        """Answer all of it.

        Raises:
            RequestError: It is refused before anything was answered.
            ClientGoneError: The rest will not come.
        """
        # In a thread: the first Arrow stream imports its library.
        self._source, self._form = await self._serving.aside(self._open)
        try:
            async for piece in self._pieces():
                await self._answer(self._source.feed(piece))
                self._hold(self._source.held)
            await self._answer(self._source.end())
        except ClientGoneError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if not self.started:
                raise
            await self._write([(Entry(self._number + 1, None, self._last_words(error)), None)])
        finally:
            self._pending.bytes -= self._held
        await self._begin()
        if self._form.tail:
            await self._send_body(self._form.tail)
        await self._send({"type": "http.response.body", "body": b""})

    def _open(self) -> tuple[Source, Form]:
        headers = self._scope["headers"]
        own = content_type_of(headers)
        forms = [own, *(form for form in (NDJSON, CSV, ARROW) if form != own)]
        return _source(own, self._serving), form_of(choose_form(headers, forms))

    async def _pieces(self) -> AsyncIterator[bytes]:
        encoding = encoding_of(self._scope["headers"])
        inflater = Inflater(encoding) if encoding else None
        more = True
        while more:
            part, more = await receive_part(self._scope, self._receive)
            self.received += len(part)
            for piece in [part] if inflater is None else inflater.feed(part):
                yield piece
        if inflater is not None:
            inflater.end()

    def _hold(self, held: int) -> None:
        more, self._held = held - self._held, held
        self._pending.add(more)

    async def _answer(self, wholes: Iterable[Any]) -> None:
        for whole in wholes:
            for part in await self._serving.aside(partial(self._source.split, whole)):
                chunk = await self._serving.aside(partial(self._encode, part))
                await self._write(await self._predict(chunk))
                self._number = chunk.entries[-1].number

    def _encode(self, part: Any) -> Chunk:
        if self._route is not None:
            return self._source.encode(part, self._route)
        table = self._serving.table
        chunk = self._source.encode(part, table.routes[0])
        self._route = table.choose(chunk.entries[0].id)
        return chunk if self._route is table.routes[0] else self._source.encode(part, self._route)

    async def _predict(self, chunk: Chunk) -> Answers:
        serving, route = self._serving, self._route
        if route is None:
            raise ValueError("a chunk was read without a route")
        batcher, _ = serving.batcher(route)
        scored = await batcher.score_aside(chunk.packed, serving.worker) if chunk.packed else []
        refusals = iter([None if isfinite(each) else _unscorable() for each in scored])
        entries = [each if each.error else each._replace(error=next(refusals)) for each in chunk.entries]
        predictions = iter(
            predict(
                serving,
                route,
                [entry.id for entry in entries if entry.error is None],
                [probability for probability in scored if isfinite(probability)],
            )
        )
        for entry in entries:
            if entry.error:
                serving.metrics.errors[entry.error.code] += 1
        return [(entry, None if entry.error else next(predictions)) for entry in entries]

    async def _write(self, answers: Answers) -> None:
        await self._begin()
        await self._send_body(self._form.write(answers))

    async def _begin(self) -> None:
        if self.started:
            return
        self.started = True
        granted = self._serving.gate.pages.grant(self._scope["headers"])
        headers: list[Header] = [(b"content-type", self._form.content_type), *self._origin(), *granted]
        if self._serving.is_last(self._scope):
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._form.head:
            await self._send_body(self._form.head)

    async def _send_body(self, body: bytes) -> None:
        self.sent += len(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    def _origin(self) -> tuple[Header, ...]:
        route = self._route or self._serving.table.routes[0]
        revision = UNSET if route.revision is None else route.revision
        return origin(self._serving.table.name, route.model.manifest.version, revision)

    def _last_words(self, error: BaseException) -> RequestError:
        if isinstance(error, asyncio.CancelledError):
            return too_late(self._serving)
        if not isinstance(error, RequestError):
            return unexpected(self._serving, error)  # type: ignore[arg-type]
        self._serving.metrics.errors[error.code] += 1
        return error


def _unscorable() -> RequestError:
    fault = Fault(0, "", "invalid", "the model gives no probability for these values")
    return RequestError(422, "unscorable_records", "the record cannot be scored", [fault])
