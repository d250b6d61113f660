"""An ONNX graph while it is built: nodes and constants, named in the order in which they come."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from churn_serving.scorer import INPUT, OUTPUT

OPSET, ML_OPSET = 21, 3
_IR = 10


class Graph:
    """Collects nodes and constants; `add` returns the name of the node's output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: Any, dtype: type[np.generic]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def gather(self, columns: Sequence[int]) -> str:
        return self.add("Gather", INPUT, self.constant(columns, np.int64), axis=1)

    def serialise(self, features: int) -> bytes:
        """The model's bytes: a matrix of `features` columns in, the probabilities of both classes out."""
        model = helper.make_model(
            helper.make_graph(
                self.nodes,
                "churn",
                [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", features])],
                [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 2])],
                self.constants,
            ),
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
            ir_version=_IR,
            producer_name="churn-serving",
        )
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))
