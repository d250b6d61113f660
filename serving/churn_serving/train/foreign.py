"""Steps that other projects convert: skl2onnx's graphs, and NumPy's functions as operators of ONNX."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import compose

from churn_serving.errors import DataError
from churn_serving.train.graph import ML_OPSET, OPSET, Graph

Add: TypeAlias = Callable[[Graph, str], str]
"""Puts a step into a graph: from the tensor of its inputs to that of its outputs."""

_UFUNCS: Mapping[Any, str] = {
    np.abs: "Abs",
    np.cos: "Cos",
    np.exp: "Exp",
    np.log: "Log",
    np.sin: "Sin",
    np.sqrt: "Sqrt",
    np.tanh: "Tanh",
}


def add_ufunc(transformer: Any, told: str) -> Add:
    """A FunctionTransformer of one of NumPy's functions.

    Raises:
        DataError: It calls anything else.
    """
    function = transformer.func
    if function is np.log1p:
        return lambda graph, inputs: graph.add("Log", graph.add("Add", inputs, graph.constant(1, np.float32)))
    if function not in _UFUNCS or transformer.kw_args:
        known = ", ".join(sorted(["log1p", *_UFUNCS.values()], key=str.lower)).lower()
        name = getattr(function, "__name__", "code")
        raise DataError(
            f"{told} runs your own {name!r}, which no graph can hold; do it before the data reaches the"
            f" pipeline, or use one of NumPy's {known}"
        )
    return lambda graph, inputs: graph.add(_UFUNCS[function], inputs)


def add_step(transformer: Any, width: int, told: str) -> Add:
    """A transformer, or a classifier for its probabilities, as skl2onnx converts it.

    Raises:
        DataError: skl2onnx does not know it, or not with these settings.
    """
    model = _convert(transformer, width, told)
    output = model.graph.output[-1].name

    def add(graph: Graph, inputs: str) -> str:
        prefix = f"s{len(graph.nodes)}_"
        prefixed = compose.add_prefix(model, prefix).graph
        graph.add("Identity", inputs, output=prefixed.input[0].name)
        graph.nodes.extend(prefixed.node)
        graph.constants.extend(prefixed.initializer)
        return graph.add("Cast", prefix + output, to=onnx.TensorProto.FLOAT)

    return add


def _convert(transformer: Any, width: int, told: str) -> onnx.ModelProto:
    try:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType
    except ModuleNotFoundError as error:
        raise DataError(f"{error.name} is not installed: pip install 'churn-serving[export]'") from None
    is_classifier = hasattr(transformer, "predict_proba")
    try:
        model = convert_sklearn(
            transformer,
            initial_types=[("x", FloatTensorType([None, width]))],
            options={id(transformer): {"zipmap": False}} if is_classifier else None,
            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
        )
    except Exception as error:  # noqa: BLE001 (skl2onnx raises whatever its converters do)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise DataError(f"{told} cannot be converted: {reason}") from None
    if model.functions or any(
        attribute.HasField("g") for node in model.graph.node for attribute in node.attribute
    ):
        raise DataError(f"{told} cannot be converted: its graph has functions or branches of its own")
    return model
