"""Reasons for the customers of a request. Nothing here runs unless a request asks for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from churn_serving.batcher import Batcher
from churn_serving.model import Model
from churn_serving.reasons import Explainer, Explanation, Ranked
from churn_serving.server.http import RequestError
from churn_serving.server.metrics import ModelMetrics
from churn_serving.settings import Settings

DEFAULT_REASONS = 3


class Explaining:
    """Explains one model's answers. Requests of one tick share a call of the model here, too.

    Attributes:
        batcher: Publishes a `Ranked` per customer.
    """

    def __init__(self, model: Model, counts: ModelMetrics, settings: Settings) -> None:
        self._explainer = Explainer(model.manifest, model.encoder, model.scorer)
        width = len(model.manifest.features)
        self._max_records = max(1, settings.max_explained_rows // width)
        self.batcher = Batcher(
            self._explainer,
            width=width,
            max_rows=settings.batch_rows,
            # The customers are counted, not their variations: nobody sent those.
            observe=lambda matrix, scored, seconds: counts.observe(matrix, scored[:, 0], seconds),
            publish=self._explainer.rank,
        )

    def check(self, records: int) -> None:
        """Refuse what would hold up everybody.

        Raises:
            RequestError: 413, more records than may be explained at once.
        """
        if records > self._max_records:
            message = f"reasons for {records} records in one request; at most {self._max_records} are allowed"
            raise RequestError(413, "too_many_records", message)

    def explain(
        self, ranked: Sequence[Ranked], records: Sequence[Mapping[str, Any]], asked: int
    ) -> list[Explanation]:
        """The reasons of customers that the model scored; True asks for as many as is usual."""
        count = DEFAULT_REASONS if asked is True else asked
        return [
            self._explainer.explain(one, record, count) for one, record in zip(ranked, records, strict=True)
        ]
