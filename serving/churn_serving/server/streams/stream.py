"""Answers a stream: reads a part, scores it, writes what it has to say of it, and only then reads on.

So memory stays as it is whatever the size, and who does not read is not read from.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from math import isfinite

from msgspec import UNSET

from churn_serving.features import Fault
from churn_serving.routing import Route
from churn_serving.server.accept import NDJSON, choose_form, content_type_of
from churn_serving.server.failures import too_late, unexpected
from churn_serving.server.http import (
    ClientGoneError,
    Header,
    Receive,
    RequestError,
    Scope,
    Send,
    receive_part,
)
from churn_serving.server.inflate import Inflater, encoding_of
from churn_serving.server.scoring import origin, predict
from churn_serving.server.state import Serving
from churn_serving.server.streams.chunk import Chunk, Entry, read_lines
from churn_serving.server.streams.forms import FORMS, Answers
from churn_serving.server.streams.lines import Line, Lines


def is_stream(headers: Sequence[Header]) -> bool:
    """Whether a body is answered while it comes."""
    return content_type_of(headers) == NDJSON


class Stream:
    """One stream and its answer.

    Attributes:
        started: Whether the answer has begun: from then on an error is its last record.
        received: Bytes of the body.
        sent: Bytes of the answer's.
    """

    def __init__(self, serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
        self._serving, self._scope, self._receive, self._send = serving, scope, receive, send
        self._form = FORMS[choose_form(scope["headers"], list(FORMS))]
        self._lines = Lines(serving.settings.max_line_bytes)
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
        try:
            async for piece in self._pieces():
                await self._answer_lines(self._lines.feed(piece))
            await self._answer_lines(self._lines.end())
        except ClientGoneError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if not self.started:
                raise
            await self._write([(Entry(self._number + 1, None, self._last_words(error)), None)])
        await self._begin()
        await self._send({"type": "http.response.body", "body": b""})

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

    async def _answer_lines(self, lines: list[Line]) -> None:
        if not lines:
            return
        chunk = await self._serving.aside(lambda: self._read(lines))
        await self._write(await self._predict(chunk))
        self._number = lines[-1].number

    def _read(self, lines: list[Line]) -> Chunk:
        serving = self._serving
        if self._route is None:
            table = serving.table
            first = self._read_by(table.routes[0], lines[:1]).entries[0]
            self._route = table.choose(first.id)
        return self._read_by(self._route, lines)

    def _read_by(self, route: Route, lines: list[Line]) -> Chunk:
        return read_lines(lines, route, self._serving.decoder(route, "records"), self._serving.settings)

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
        if self._serving.draining:
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
