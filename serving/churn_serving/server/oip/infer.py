"""Inference as the protocol means it, for HTTP and gRPC alike: tensors to the outputs that were asked for."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from churn_serving.features import InvalidRecordsError, Matrix, shown
from churn_serving.routing import Route, Table
from churn_serving.server.explaining import DEFAULT_REASONS
from churn_serving.server.http import RequestError, encode_json
from churn_serving.server.oip.customers import check_texts, count_rows, first_customer, read_customers
from churn_serving.server.oip.datatypes import BOOLEAN, TEXT, pack_texts
from churn_serving.server.oip.tensors import Tensor
from churn_serving.server.records import MAX_REASONS
from churn_serving.server.scoring import unscorable
from churn_serving.server.state import Serving
from churn_serving.vectors import Values, shown_value

PROBABILITY, LABEL, DECISION, REASONS = "probability", "label", "decision", "reasons"
DATATYPES = {PROBABILITY: "FP64", LABEL: TEXT, DECISION: BOOLEAN, REASONS: TEXT}
USUAL = (PROBABILITY, LABEL, DECISION)


class Wanted(NamedTuple):
    """What a request asks for.

    Attributes:
        outputs: Names; empty for the usual ones.
        reasons: How many at most in each customer's reasons.
    """

    outputs: tuple[str, ...]
    reasons: int = DEFAULT_REASONS


class Output(NamedTuple):
    """One output; its shape is [rows]."""

    name: str
    datatype: str
    cells: npt.NDArray[np.generic] | list[str]


class Inferred(NamedTuple):
    """An answer. One revision gave all of it."""

    version: str
    threshold: float
    outputs: list[Output]


class _Read(NamedTuple):
    route: Route
    values: Values
    matrix: Matrix


def read_wanted(outputs: Sequence[str], explain: Any) -> Wanted:
    """What the names of outputs and the parameter `explain` ask for.

    Raises:
        RequestError: There is no such output, or `explain` is neither a boolean nor a number of reasons.
    """
    unknown = next((name for name in outputs if name not in DATATYPES), None)
    if unknown is not None:
        message = f"there is no output {shown(unknown)!r}; there are {', '.join(DATATYPES)}"
        raise RequestError(400, "invalid_request", message)
    if not isinstance(explain, bool) and not (isinstance(explain, int) and 1 <= explain <= MAX_REASONS):
        message = f"explain must be true, false or a number of reasons, 1 to {MAX_REASONS}"
        raise RequestError(400, "invalid_request", message)
    if explain and REASONS not in outputs:
        outputs = (*(outputs or USUAL), REASONS)
    count = DEFAULT_REASONS if isinstance(explain, bool) else explain
    return Wanted(tuple(dict.fromkeys(outputs)) or USUAL, count)


def find_routes(table: Table, name: str, version: str | None) -> Table:
    """The part of the table that a model's name and a version address.

    A version is a revision's name or, where no revision is called so, a bundle's version.

    Raises:
        RequestError: 404, there is no such model or version.
    """
    if name != table.name:
        raise RequestError(404, "model_not_found", f"this server has one model, {table.name}")
    if not version:
        return table
    routes = [route for route in table.routes if route.revision == version] or [
        route for route in table.routes if route.model.manifest.version == version
    ]
    if not routes:
        versions = ", ".join(version_of(route) for route in table.routes)
        raise RequestError(404, "version_not_found", f"model {table.name} has the versions {versions}")
    return replace(table, routes=tuple(routes))


def version_of(route: Route) -> str:
    """What the protocol calls the version: the revision or, where one bundle is served without, its own."""
    return route.model.manifest.version if route.revision is None else route.revision


def read(serving: Serving, table: Table, tensors: Sequence[Tensor]) -> _Read:
    """Choose who answers and encode the customers. Large inputs belong into a worker thread.

    Raises:
        RequestError: The tensors do not fit the model's columns.
    """
    count_rows(tensors, serving.settings.max_records)
    check_texts(tensors, serving.settings.max_text_length)
    route = table.choose(first_customer(tensors, table.routes[0].model.manifest.id))
    encoder = serving.vectors(route)
    values = read_customers(tensors, route.model.manifest, encoder)
    try:
        return _Read(route, values, encoder.encode(values))
    except InvalidRecordsError as error:
        message = "the inputs do not fit the model's columns"
        raise RequestError(400, "invalid_records", message, error.faults) from None


async def infer(serving: Serving, asked: _Read, wanted: Wanted, *, small: bool) -> Inferred:
    """Score and present.

    `small`: score here and now, with what else came in this tick; else in the worker thread.

    Raises:
        RequestError: The model gives no probability for some of the customers.
    """
    route, explanations = asked.route, []
    batcher, counts = serving.batcher(route)
    explaining = serving.explaining(route)
    if REASONS in wanted.outputs:
        explaining.check(len(asked.matrix))
        batcher = explaining.batcher
    packed = asked.matrix.tobytes()
    found = await (batcher.score_packed(packed) if small else batcher.score_aside(packed, serving.worker))
    scored = [one.probability for one in found] if REASONS in wanted.outputs else found
    probabilities = np.array(scored)
    if not np.isfinite(probabilities).all():
        raise unscorable(scored)
    if REASONS in wanted.outputs:
        told = explaining.explain(found, _records(asked), wanted.reasons)
        explanations = [encode_json(each).decode() for each in told]
    churn = probabilities >= route.threshold
    churning = int(churn.sum())
    counts.churn += churning
    counts.stay += len(churn) - churning
    cells: dict[str, Any] = {PROBABILITY: probabilities, DECISION: churn, REASONS: explanations}
    if LABEL in wanted.outputs:
        cells[LABEL] = _labels(route, churn)
    outputs = [Output(name, DATATYPES[name], cells[name]) for name in wanted.outputs]
    return Inferred(version_of(route), route.threshold, outputs)


def pack(output: Output) -> bytes:
    """An output in its binary form."""
    if output.datatype == TEXT:
        return pack_texts(output.cells)  # type: ignore[arg-type]
    return np.asarray(output.cells, dtype="u1" if output.datatype == BOOLEAN else "<f8").tobytes()


def _labels(route: Route, churn: npt.NDArray[np.bool_]) -> list[str]:
    manifest = route.model.manifest
    stay = manifest.classes[1 - manifest.positive_index]
    return [manifest.positive if each else stay for each in churn.tolist()]


def _records(asked: _Read) -> list[dict[str, Any]]:
    features = asked.route.model.manifest.features
    return [
        {feature.name: shown_value(feature, value) for feature, value in zip(features, row, strict=True)}
        for row in asked.values.tolist()
    ]
