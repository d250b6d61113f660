"""Reasons for the customers of a request. Nothing here runs unless a request asks for them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from churn_serving.batcher import Batcher, Rows
from churn_serving.model import Model
from churn_serving.reasons import Explainer, Explanation
from churn_serving.scorer import Probabilities
from churn_serving.server.http import RequestError
from churn_serving.server.metrics import ModelMetrics
from churn_serving.settings import Settings

DEFAULT_REASONS = 3


class Explaining:
    """Explains one model's answers. Requests of one tick share a call of the model here, too."""

    def __init__(self, model: Model, counts: ModelMetrics, settings: Settings) -> None:
        self._explainer = Explainer(model.manifest, model.encoder, model.scorer)
        width = len(model.manifest.features)
        self._max_records = max(1, settings.max_explained_rows // width)
        self._batcher = Batcher(
            self._explainer,
            width=width,
            max_rows=settings.batch_rows,
            # The customers are counted, not their variations: nobody sent those.
            observe=lambda matrix, scored, seconds: counts.observe(matrix, scored[:, 0], seconds),
        )

    async def explain(
        self, rows: Rows, records: Sequence[Mapping[str, Any]], count: int
    ) -> tuple[Probabilities, list[Explanation]]:
        """The customers' probabilities, NaN where the model gives none, and their reasons.

        Raises:
            RequestError: 413, more records than may be explained at once.
        """
        if len(rows) > self._max_records:
            message = (
                f"reasons for {len(rows)} records in one request; at most {self._max_records} are allowed"
            )
            raise RequestError(413, "too_many_records", message)
        scored = await self._batcher.score(rows)
        whole = np.isfinite(scored).all(axis=1)
        if not whole.all():
            return np.where(whole, scored[:, 0], np.nan), []
        return scored[:, 0], self._explainer.explain(scored, records, count)
