"""What the server's parts share. Only the routing table and whether the process is leaving change."""

import asyncio
import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from churn_serving.batcher import Batcher
from churn_serving.drift import Drift
from churn_serving.routing import Failure, Route, Table
from churn_serving.server.access.gate import Gate
from churn_serving.server.explaining import Explaining
from churn_serving.server.http import Scope
from churn_serving.server.metrics import Metrics, ModelMetrics
from churn_serving.server.mounted import Mounted
from churn_serving.server.rows import RowDecoder
from churn_serving.server.tls import Certificate, open_certificate
from churn_serving.server.worker import Worker
from churn_serving.settings import Settings
from churn_serving.vectors import VectorEncoder

_Result = TypeVar("_Result")

# Times as long as anybody waits for the worker: it will not come back.
_STUCK = 2


@dataclass
class Serving:
    """The process's state.

    Attributes:
        table: Read once per request, so that a request sees one table from start to end.
        failures: Revisions that did not load; the table has none of them.
        draining: Set by SIGTERM and never unset.
        gate: Who is let in; opened as the settings say.
        certificate: Of the traffic port, if it speaks TLS.
        mounted: Files that are followed, serving.json aside.
        worker: For what would hold up the event loop.
    """

    settings: Settings
    table: Table
    metrics: Metrics
    draining: bool = False
    failures: tuple[Failure, ...] = ()
    gate: Gate = field(init=False)
    certificate: Certificate | None = field(init=False)
    mounted: tuple[Mounted[Any], ...] = field(init=False)
    worker: Worker = field(default_factory=Worker)
    _batchers: dict[str | None, tuple[Batcher, ModelMetrics]] = field(default_factory=dict)
    _explaining: dict[str | None, Explaining] = field(default_factory=dict)
    _decoders: dict[tuple[str | None, str], RowDecoder] = field(default_factory=dict)
    _vectors: dict[str | None, VectorEncoder] = field(default_factory=dict)
    _prediction_ids: "itertools.count[int]" = field(default_factory=itertools.count)
    _process: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        """Raises: ConfigInvalidError: A mounted file is missing or not valid."""
        self.gate = Gate(self.settings)
        self.certificate = open_certificate(self.settings)
        files = (*self.gate.mounted, self.certificate)
        self.mounted = self.metrics.mounted = tuple(file for file in files if file is not None)
        self.metrics.failures = self.failures
        self.use(self.table)

    @property
    def ready(self) -> bool:
        """Whether to send new traffic here. The models are loaded before anything listens."""
        return not self.draining

    @property
    def stuck(self) -> bool:
        """Whether large requests can no longer be answered, since the worker does not come back."""
        return self.worker.busy_seconds > _STUCK * self.settings.predict_seconds

    def is_last(self, scope: Scope) -> bool:
        """Whether the answer tells the client not to come back on its connection: it goes to another pod.

        Not while more of its requests have come over it: they would be lost.
        """
        connection = scope.get("state", {}).get("connection")
        return self.draining and not (connection is not None and connection.has_more)

    def use(self, table: Table) -> None:
        """Answer by this table from the next request on."""
        for route in table.routes:
            counts = self.metrics.model(table.name, route)
            if route.revision not in self._batchers:
                batcher = Batcher(
                    route.model.scorer,
                    width=len(route.model.manifest.features),
                    max_rows=self.settings.batch_rows,
                    observe=counts.observe,
                )
                self._batchers[route.revision] = (batcher, counts)
                for key in ("records", "instances"):
                    self._decoders[route.revision, key] = RowDecoder(
                        route.model.manifest, key, max_text=self.settings.max_text_length
                    )
                self._vectors[route.revision] = VectorEncoder(route.model.manifest)
                if self.settings.drift:
                    counts.drift = Drift(
                        route.model.manifest,
                        route.model.reference,
                        window_seconds=self.settings.drift_window_seconds,
                    )
                self._explaining[route.revision] = Explaining(route.model, counts, self.settings)
        self.table = table

    def batcher(self, route: Route) -> tuple[Batcher, ModelMetrics]:
        """Where the route's rows are scored and counted."""
        return self._batchers[route.revision]

    def decoder(self, route: Route, key: str) -> RowDecoder:
        """Reads the route's bodies whose list of records is called `key`."""
        return self._decoders[route.revision, key]

    def vectors(self, route: Route) -> VectorEncoder:
        """Encodes whole columns for the route's model."""
        return self._vectors[route.revision]

    def explaining(self, route: Route) -> Explaining:
        """Where the route's rows are scored with reasons."""
        return self._explaining[route.revision]

    async def aside(self, work: Callable[[], _Result]) -> _Result:
        """Done by the worker, while the event loop goes on."""
        return await asyncio.get_running_loop().run_in_executor(self.worker, work)

    def next_prediction_id(self) -> str:
        """Unique among all processes: 16 random hex digits of this one, then a count."""
        return f"{self._process}-{next(self._prediction_ids):x}"
