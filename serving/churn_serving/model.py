"""A bundle ready to score: verified, loaded, and shown to give the probabilities of its golden rows."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from churn_serving.bundle.read import Bundle, read_bundle
from churn_serving.bundle.schema import GOLDEN_TOLERANCE, MIN_GOLDEN_ROWS, Manifest, Reference
from churn_serving.errors import GoldenMismatchError, OnnxInvalidError, TooSlowError
from churn_serving.features import Encoder, InvalidRecordsError, to_matrix
from churn_serving.scorer import Scorer


@dataclass(frozen=True, slots=True)
class Model:
    """One loaded bundle.

    Attributes:
        golden_rows: How many rows were reproduced.
        golden_deviation: The largest difference of a probability among them.
        load_seconds: Time from opening the directory to ready.
    """

    digest: str
    manifest: Manifest
    reference: Reference
    encoder: Encoder
    scorer: Scorer
    golden_rows: int
    golden_deviation: float
    load_seconds: float


def load_model(directory: Path, digest: str | None = None, max_scoring_millis: float | None = None) -> Model:
    """Verify the bundle in `directory` and load it.

    Args:
        directory: The bundle.
        digest: The digest it must have; None accepts any.
        max_scoring_millis: How long scoring one row may take, median of golden rows one by one; None measures
            nothing.

    Raises:
        BundleError: Sizes, digest, files, schema, graph, golden rows, speed: the first that fails, in this
            order.
    """
    started = time.perf_counter()
    bundle = read_bundle(directory, digest)
    manifest = bundle.manifest
    scorer = Scorer(bundle.model, features=len(manifest.features), positive=manifest.positive_index)
    encoder = Encoder(manifest)
    deviation = _reproduce(bundle, encoder, scorer)
    if max_scoring_millis is not None:
        _hold_to(max_scoring_millis, bundle, encoder, scorer)
    return Model(
        digest=bundle.digest,
        manifest=manifest,
        reference=bundle.reference,
        encoder=encoder,
        scorer=scorer,
        golden_rows=len(bundle.golden),
        golden_deviation=deviation,
        load_seconds=time.perf_counter() - started,
    )


def _reproduce(bundle: Bundle, encoder: Encoder, scorer: Scorer) -> float:
    try:
        rows = encoder.encode([row.record for row in bundle.golden]).rows
    except InvalidRecordsError as error:
        fault = error.faults[0]
        raise GoldenMismatchError(
            f"golden row {fault.record + 1}, column {fault.column!r}: {fault.message}"
        ) from None
    try:
        found = scorer.probabilities(to_matrix(rows, len(bundle.manifest.features)))
    except Exception as error:  # noqa: BLE001 (whatever the graph does at run time, it is the graph)
        raise OnnxInvalidError(f"model.onnx does not score its golden rows: {str(error)[:500]}") from None
    expected = np.array([row.probability for row in bundle.golden])
    deviations = np.abs(found - expected)
    worst = int(np.argmax(np.nan_to_num(deviations, nan=np.inf)))
    if not deviations[worst] <= GOLDEN_TOLERANCE:  # NaN is no match either
        raise GoldenMismatchError(
            f"golden row {worst + 1} gives {found[worst]:.6f}, training gave {expected[worst]:.6f}"
        )
    return float(deviations[worst])


def _hold_to(most_millis: float, bundle: Bundle, encoder: Encoder, scorer: Scorer) -> None:
    """Score golden rows one by one, as customers come. Once half of them were too slow, the median is."""
    rows = bundle.golden[:MIN_GOLDEN_ROWS]
    slow = []
    for row in rows:
        started = time.perf_counter()
        encoded = encoder.encode([row.record]).rows
        scorer.probabilities(to_matrix(encoded, len(bundle.manifest.features)))
        if (took := (time.perf_counter() - started) * 1000) > most_millis:
            slow.append(took)
        if 2 * len(slow) > len(rows):
            raise TooSlowError(
                f"scoring one golden row takes {statistics.median(slow):.3g} ms, allowed are {most_millis:g}:"
                " serve a smaller model, give it more CPU or raise the limit"
            )
