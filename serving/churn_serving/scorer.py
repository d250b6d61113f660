"""ONNX Runtime behind one function: float32 matrix in, probability of churn out."""

from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from churn_serving.bundle.onnx_wire import has_external_data
from churn_serving.errors import OnnxInvalidError
from churn_serving.features import Matrix

Probabilities = npt.NDArray[np.float64]

INPUT: Final = "features"
OUTPUT: Final = "probabilities"
DECIMALS: Final = 6
"""Places of a published probability: float32 carries no more. Decisions are taken on what is published."""

_SEVERITY_FATAL = 4


class Scorer:
    """One loaded graph. Thread-safe, as ONNX Runtime sessions are."""

    def __init__(self, model: bytes, *, features: int, positive: int) -> None:
        """Load the graph.

        Args:
            model: Bytes of model.onnx.
            features: Width of the matrix.
            positive: Column of the output that is the probability of churn.

        Raises:
            OnnxInvalidError: It does not load, reads other files, or has other inputs or outputs.
        """
        try:
            external = has_external_data(model)
        except ValueError as error:
            raise OnnxInvalidError(f"model.onnx is no ONNX file: {error}") from None
        if external:
            raise OnnxInvalidError("model.onnx keeps data in other files; export it as one file")
        self._session = _session(model)
        self._features = features
        self._positive = positive
        self._check_signature()

    def probabilities(self, matrix: Matrix) -> Probabilities:
        """Probability of churn per row, float64, as the graph gives it; NaN where it gives none."""
        (output,) = self._session.run([OUTPUT], {INPUT: matrix})
        return np.asarray(output[:, self._positive], dtype=np.float64)

    def _check_signature(self) -> None:
        inputs = [(i.name, i.type, i.shape[1:]) for i in self._session.get_inputs()]
        if inputs != [(INPUT, "tensor(float)", [self._features])]:
            raise OnnxInvalidError(
                f"model.onnx must take one float matrix {INPUT!r} of {self._features} columns"
            )
        outputs = [(o.name, o.type, o.shape[1:]) for o in self._session.get_outputs()]
        if outputs != [(OUTPUT, "tensor(float)", [2])]:
            raise OnnxInvalidError(f"model.onnx must give one float matrix {OUTPUT!r} of 2 columns")


def publish(probabilities: Probabilities) -> list[float]:
    """Probabilities as they are shown and decided on."""
    rounded: list[float] = np.round(probabilities, DECIMALS).tolist()
    return rounded


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # One request's matrix is small: threads cost more than they give, and an idle pool spins on the CPU.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # would keep the memory of the largest batch for ever
    options.log_severity_level = _SEVERITY_FATAL  # failures are ours to report, as one JSON line
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (the runtime's own classes share no other base)
        raise OnnxInvalidError(f"model.onnx does not load: {str(error)[:500]}") from None
