"""The hot routes: records in, predictions out."""

from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from churn_serving.batcher import Batcher
from churn_serving.features import MAX_FAULTS, EncodedRecords, Fault, InvalidRecordsError, to_matrix
from churn_serving.reasons import Explanation, Ranked, Reason
from churn_serving.routing import Route
from churn_serving.server.accept import CSV
from churn_serving.server.bounds import check_nesting, check_texts, check_values
from churn_serving.server.csv_answers import COLUMNS, row_of, write_rows
from churn_serving.server.http import Header, Reply, RequestError, encode_json
from churn_serving.server.records import decode_records
from churn_serving.server.state import Serving

_decode = msgspec.json.Decoder().decode


class Prediction(Struct, frozen=True, gc=False):
    """One customer's answer."""

    prediction_id: str
    """Unique; names this answer in later feedback."""
    probability: float
    """Of churn, 0 to 1, to six decimals."""
    churn: bool
    """Whether probability ≥ threshold."""
    threshold: float
    id: str | int | UnsetType = UNSET
    """The customer's, where the record gave one."""
    reasons: list[Reason] | UnsetType = UNSET
    """Where asked for: largest first whatever the sign; a column without effect is none."""
    typical_probability: float | UnsetType = UNSET
    """Of a customer with the typical value in every column."""
    rest: float | UnsetType = UNSET
    """probability - typical_probability - the listed points: other columns, and what acts only together."""


class PredictReply(Struct, frozen=True, gc=False):
    """The answer to POST /predict. One revision answers all records of a request."""

    model: str
    version: str
    predictions: list[Prediction]
    revision: str | UnsetType = UNSET
    """Of the routing file, where one is served."""


class V1Reply(Struct, frozen=True, gc=False):
    """The answer to POST /v1/models/{model}:predict."""

    predictions: list[Prediction]


class ExplainReply(Struct, frozen=True, gc=False):
    """The answer to POST /v1/models/{model}:explain. Both lists have one entry per instance."""

    predictions: list[Prediction]
    explanations: list[Explanation]


class _Asked(NamedTuple):
    """A request as it was read, under the routing table of that moment."""

    name: str
    route: Route
    packed: bytes
    ids: Sequence[str | int | None]
    records: Sequence[Any]
    explain: int


class Work(NamedTuple):
    """What a request needs: its rows scored, and an answer made of what is published of them."""

    batcher: Batcher
    packed: bytes
    reply: Callable[[list[Any]], Reply]


class Endpoint(NamedTuple):
    """How a hot route reads and answers.

    Attributes:
        key: What the body calls its list of records.
        to_body: The answer's body.
        explains: Whether reasons are given without being asked for.
        write: The reply of it.
    """

    key: str
    to_body: Callable[[str, Route, list[Prediction], list[Explanation]], Struct]
    explains: bool = False
    write: Callable[[Any], Reply] = lambda body: Reply(200, encode_json(body))

    def read_small(self, serving: Serving, body: bytes) -> Work | None:
        """A body in which nothing is wrong, or None where only `answer` can tell."""
        return self._read(serving, body) if len(body) <= serving.settings.inline_bytes else None

    async def answer(self, serving: Serving, body: bytes) -> Reply:
        """The answer to any body.

        Raises:
            RequestError: The body is refused.
        """
        if len(body) <= serving.settings.inline_bytes:
            work = self._read(serving, body) or self._read_any(serving, body)
            return work.reply(await work.batcher.score_packed(work.packed))
        work = await serving.aside(partial(self._read_large, serving, body))
        return work.reply(await work.batcher.score_aside(work.packed, serving.worker))

    def _read(self, serving: Serving, body: bytes) -> Work | None:
        """The short way."""
        table, max_records = serving.table, serving.settings.max_records
        route = table.routes[0]
        rows = serving.decoder(route, self.key).decode(body, max_records=max_records)
        if rows is not None and (chosen := table.choose(rows.ids[0])) is not route:
            route = chosen
            rows = serving.decoder(route, self.key).decode(body, max_records=max_records)
        if rows is None:
            return None
        explain = rows.explain or self.explains
        # As they came: 1 is shown as 1, where the model's rows have it scaled.
        records = _decode(body)[self.key] if explain else ()
        return self._work(serving, _Asked(table.name, route, rows.packed, rows.ids, records, explain))

    def _read_large(self, serving: Serving, body: bytes) -> Work:
        check_values(body, serving.settings.max_values)
        return self._read(serving, body) or self._read_any(serving, body)

    def _read_any(self, serving: Serving, body: bytes) -> Work:
        """The long way, which says what is wrong."""
        table, settings = serving.table, serving.settings
        records, explain = decode_records(body, self.key, max_records=settings.max_records)
        check_nesting(records, settings.max_nesting - 1)
        check_texts(records, settings.max_text_length)
        route = table.choose(_customer(records[0], table.routes[0].model.manifest.id))
        encoded = _encode(route, records)
        packed = to_matrix(encoded.rows, len(route.model.manifest.features)).tobytes()
        explain = explain or self.explains
        return self._work(serving, _Asked(table.name, route, packed, encoded.ids, records, explain))

    def _work(self, serving: Serving, asked: _Asked) -> Work:
        if not asked.explain:
            batcher, _ = serving.batcher(asked.route)
            return Work(batcher, asked.packed, partial(self._reply, serving, asked))
        explaining = serving.explaining(asked.route)
        explaining.check(len(asked.records))

        def reply(ranked: list[Ranked]) -> Reply:
            scored = [one.probability for one in ranked]
            tell = partial(explaining.explain, ranked, asked.records, asked.explain)
            return self._reply(serving, asked, scored, tell)

        return Work(explaining.batcher, asked.packed, reply)

    def _reply(
        self,
        serving: Serving,
        asked: _Asked,
        scored: list[float],
        explain: Callable[[], list[Explanation]] = list,
    ) -> Reply:
        predictions = predict(serving, asked.route, asked.ids, scored)
        return self.write(self.to_body(asked.name, asked.route, predictions, explain()))


def _predict_body(
    name: str, route: Route, predictions: list[Prediction], explanations: list[Explanation]
) -> PredictReply:
    return PredictReply(
        model=name,
        version=route.model.manifest.version,
        predictions=_with_reasons(predictions, explanations),
        revision=UNSET if route.revision is None else route.revision,
    )


def _v1_body(
    _name: str, _route: Route, predictions: list[Prediction], explanations: list[Explanation]
) -> V1Reply:
    return V1Reply(_with_reasons(predictions, explanations))


def _explain_body(
    _name: str, _route: Route, predictions: list[Prediction], explanations: list[Explanation]
) -> ExplainReply:
    return ExplainReply(predictions, explanations)


def _write_csv(body: PredictReply) -> Reply:
    if any(each.reasons is not UNSET for each in body.predictions):
        raise RequestError(406, "not_acceptable", "reasons are told in JSON: leave explain or text/csv out")
    rows = [COLUMNS, *map(row_of, body.predictions)]
    return Reply(200, write_rows(rows), CSV, origin(body.model, body.version, body.revision))


PREDICT = Endpoint("records", _predict_body)
"""POST /predict."""
PREDICT_CSV = PREDICT._replace(write=_write_csv)
"""The same, told as CSV."""
PREDICT_V1 = Endpoint("instances", _v1_body)
"""POST /v1/models/{model}:predict, KServe's V1: instances are records, predictions as in /predict."""
EXPLAIN_V1 = Endpoint("instances", _explain_body, explains=True)
"""POST /v1/models/{model}:explain, KServe's V1."""


def origin(model: str, version: str, revision: str | UnsetType) -> tuple[Header, ...]:
    """Which model answered, as headers: where the body has no place for it."""
    told = {b"model-name": model, b"model-version": version}
    if revision is not UNSET:
        told[b"model-revision"] = revision
    return tuple((name, quote(text).encode()) for name, text in told.items())


def _with_reasons(predictions: list[Prediction], explanations: list[Explanation]) -> list[Prediction]:
    if not explanations:
        return predictions
    return [
        replace(
            prediction, reasons=told.reasons, typical_probability=told.typical_probability, rest=told.rest
        )
        for prediction, told in zip(predictions, explanations, strict=True)
    ]


def predict(
    serving: Serving, route: Route, ids: Sequence[str | int | None], scored: Sequence[float]
) -> list[Prediction]:
    """What is said of customers, and counted.

    Raises:
        RequestError: The model gives no probability for some of them.
    """
    if not all(map(isfinite, scored)):
        raise unscorable(scored)
    threshold = route.threshold
    predictions = [
        Prediction(
            id=UNSET if customer is None else customer,
            prediction_id=serving.next_prediction_id(),
            probability=probability,
            churn=probability >= threshold,
            threshold=threshold,
        )
        for customer, probability in zip(ids, scored, strict=True)
    ]
    _, counts = serving.batcher(route)
    churning = sum([prediction.churn for prediction in predictions])
    counts.churn += churning
    counts.stay += len(predictions) - churning
    return predictions


def _customer(record: Any, id_column: str | None) -> str | int | None:
    """By the first record's id: one revision answers a request, so the reply's version holds for all."""
    customer = record.get(id_column) if id_column is not None and isinstance(record, dict) else None
    return customer if isinstance(customer, str | int) else None


def _encode(route: Route, records: list[Any]) -> EncodedRecords:
    try:
        return route.model.encoder.encode(records)
    except InvalidRecordsError as error:
        message = "the records do not fit the model's columns"
        raise RequestError(422, "invalid_records", message, error.faults) from None


def unscorable(scored: Sequence[float]) -> RequestError:
    """Finite inputs can overflow inside a graph: the record's doing, and no failure of the server."""
    faults = [
        Fault(record, "", "invalid", "the model gives no probability for these values")
        for record, probability in enumerate(scored)
        if not isfinite(probability)
    ]
    message = "the model gives no probability for some records"
    return RequestError(422, "unscorable_records", message, faults[:MAX_FAULTS])
