"""The hot routes: records in, predictions out."""

from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from churn_serving.features import EncodedRecords, Fault, InvalidRecordsError
from churn_serving.reasons import Explanation, Reason
from churn_serving.routing import Route, Table
from churn_serving.scorer import publish
from churn_serving.server.explaining import DEFAULT_REASONS
from churn_serving.server.http import Reply, RequestError, encode_json
from churn_serving.server.metrics import ModelMetrics
from churn_serving.server.records import Asked, decode_records
from churn_serving.server.rows import RowDecoder, Rows
from churn_serving.server.state import Serving


class Prediction(Struct, frozen=True):
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


class PredictReply(Struct, frozen=True):
    """The answer to POST /predict. One revision answers all records of a request."""

    model: str
    version: str
    predictions: list[Prediction]
    revision: str | UnsetType = UNSET
    """Of the routing file, where one is served."""


class V1Reply(Struct, frozen=True):
    """The answer to POST /v1/models/{model}:predict."""

    predictions: list[Prediction]


class ExplainReply(Struct, frozen=True):
    """The answer to POST /v1/models/{model}:explain. Both lists have one entry per instance."""

    predictions: list[Prediction]
    explanations: list[Explanation]


async def predict(serving: Serving, body: bytes) -> Reply:
    """POST /predict."""
    table = serving.table
    route, predictions, explanations = await _score_body(serving, body, "records")
    reply = PredictReply(
        model=table.name,
        version=route.model.manifest.version,
        predictions=_with_reasons(predictions, explanations),
        revision=UNSET if route.revision is None else route.revision,
    )
    return Reply(200, encode_json(reply))


async def predict_v1(serving: Serving, body: bytes) -> Reply:
    """POST /v1/models/{model}:predict, KServe's V1: instances are records, predictions as in /predict."""
    _, predictions, explanations = await _score_body(serving, body, "instances")
    return Reply(200, encode_json(V1Reply(_with_reasons(predictions, explanations))))


async def explain_v1(serving: Serving, body: bytes) -> Reply:
    """POST /v1/models/{model}:explain, KServe's V1."""
    asked = await _decode(serving, body, "instances")
    _, predictions, explanations = await _score(serving, asked._replace(explain=asked.explain or True))
    return Reply(200, encode_json(ExplainReply(predictions, explanations)))


def _with_reasons(predictions: list[Prediction], explanations: list[Explanation]) -> list[Prediction]:
    if not explanations:
        return predictions
    return [
        replace(
            prediction, reasons=told.reasons, typical_probability=told.typical_probability, rest=told.rest
        )
        for prediction, told in zip(predictions, explanations, strict=True)
    ]


async def _score_body(
    serving: Serving, body: bytes, key: str
) -> tuple[Route, list[Prediction], list[Explanation]]:
    """The short way where the body is in order and asks for no reasons, else the long one."""
    small = len(body) <= serving.settings.inline_bytes
    read = partial(_read_rows, serving.table, serving.decoder, body, key, serving.settings.max_records)
    found = read() if small else await serving.aside(read)
    if found is None:
        return await _score(serving, await _decode(serving, body, key))
    route, rows = found
    batcher, counts = serving.batcher(route)
    if small:
        scored = await batcher.score_packed(rows.packed)
    else:
        scored = await batcher.score_aside(rows.packed, serving.worker)
    if not all(map(isfinite, scored)):
        raise unscorable(scored)
    return route, _predictions(serving, route, counts, rows.ids, scored), []


def _read_rows(
    table: Table, decoder: Callable[[Route, str], RowDecoder], body: bytes, key: str, max_records: int
) -> tuple[Route, Rows] | None:
    first = table.routes[0]
    rows = decoder(first, key).decode(body, max_records=max_records)
    route = first if rows is None else table.choose(rows.ids[0])
    if route is not first:
        rows = decoder(route, key).decode(body, max_records=max_records)
    return None if rows is None else (route, rows)


async def _decode(serving: Serving, body: bytes, key: str) -> Asked:
    decode = partial(decode_records, body, key, max_records=serving.settings.max_records)
    return decode() if len(body) <= serving.settings.inline_bytes else await serving.aside(decode)


async def _score(serving: Serving, asked: Asked) -> tuple[Route, list[Prediction], list[Explanation]]:
    records, explain = asked
    route = _choose(serving, records)
    encoded = _encode(route, records)
    batcher, counts = serving.batcher(route)
    explanations: list[Explanation] = []
    if explain:
        count = DEFAULT_REASONS if explain is True else explain
        scored, explanations = await serving.explaining(route).explain(encoded.rows, records, count)
    else:
        scored = await batcher.score(encoded.rows)
    if not np.isfinite(scored).all():
        raise unscorable(scored)
    return route, _predictions(serving, route, counts, encoded.ids, publish(scored)), explanations


def _predictions(
    serving: Serving,
    route: Route,
    counts: ModelMetrics,
    ids: Sequence[str | int | None],
    scored: Sequence[float],
) -> list[Prediction]:
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
    churning = sum([prediction.churn for prediction in predictions])
    counts.churn += churning
    counts.stay += len(predictions) - churning
    return predictions


def _choose(serving: Serving, records: list[Any]) -> Route:
    """By the first record's id: one revision answers a request, so the reply's version holds for all."""
    table = serving.table
    id_column = table.routes[0].model.manifest.id
    first = records[0]
    customer = first.get(id_column) if id_column is not None and isinstance(first, dict) else None
    return table.choose(customer if isinstance(customer, str | int) else None)


def _encode(route: Route, records: list[Any]) -> EncodedRecords:
    try:
        return route.model.encoder.encode(records)
    except InvalidRecordsError as error:
        message = "the records do not fit the model's columns"
        raise RequestError(422, "invalid_records", message, error.faults) from None


def unscorable(scored: Any) -> RequestError:
    """Finite inputs can overflow inside a graph: the record's doing, and no failure of the server."""
    rows = np.flatnonzero(~np.isfinite(scored))[:20]
    faults = [
        Fault(int(row), "", "invalid", "the model gives no probability for these values") for row in rows
    ]
    return RequestError(422, "unscorable_records", "the model gives no probability for some records", faults)
