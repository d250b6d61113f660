"""The probability of churn of customers in columns: by the graph or, where it is linear, from its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from churn_serving.batch.columns import Column, split, stack
from churn_serving.batch.linear import Linear, read_linear
from churn_serving.bundle.read import read_bundle
from churn_serving.features import to_matrix
from churn_serving.model import Model, load_model
from churn_serving.scorer import DECIMALS, Probabilities

_BLOCK = 2048  # rows a call: what the graph makes of them stays in the processor's cache
_TOLERANCE = 1e-6
_CLOSE = 2 * _TOLERANCE  # to the threshold; the deviation and half a published digit fit in


@dataclass(frozen=True)
class Scoring:
    """A model and what it takes to score many customers at once.

    Attributes:
        threshold: Probability from which a customer counts as churning.
        linear: The graph's weights, where it is linear and they give its probabilities.
    """

    model: Model
    threshold: float
    linear: Linear | None

    def probabilities(self, columns: Sequence[Column]) -> Probabilities:
        """Rounded as the server publishes them. On which side of the threshold one lies, the graph says."""
        if self.linear is None:
            return np.round(self._ask_graph(columns), DECIMALS)
        found = self.linear.probabilities(columns)
        (close,) = np.nonzero(np.abs(found - self.threshold) < _CLOSE)
        if close.size:
            found[close] = self._ask_graph([column.take(close) for column in columns])
        return np.round(found, DECIMALS)

    def _ask_graph(self, columns: Sequence[Column]) -> Probabilities:
        matrix = stack(columns)
        found = np.empty(len(matrix))
        for start in range(0, len(matrix), _BLOCK):
            block = slice(start, start + _BLOCK)
            found[block] = self.model.scorer.probabilities(matrix[block])
        return found


def load_scoring(directory: Path, digest: str | None, threshold: float | None) -> Scoring:
    """Load the bundle in `directory`, and the weights of its graph if it is linear.

    Args:
        directory: The bundle.
        digest: The digest that it must have; None accepts any.
        threshold: None takes the bundle's.

    Raises:
        BundleError: It is refused.
    """
    model = load_model(directory, digest)
    bundle = read_bundle(directory, model.digest)
    linear = read_linear(bundle.model, len(model.manifest.features), model.manifest.positive_index)
    if linear is not None:
        rows = model.encoder.encode([row.record for row in bundle.golden]).rows
        golden = to_matrix(rows, len(model.manifest.features))
        deviation = np.abs(linear.probabilities(split(golden)) - model.scorer.probabilities(golden))
        if not np.all(deviation <= _TOLERANCE):
            linear = None
    return Scoring(model, model.manifest.threshold if threshold is None else threshold, linear)
