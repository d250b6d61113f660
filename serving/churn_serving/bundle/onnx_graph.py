"""The nodes and constants of an ONNX file, read from its protobuf wire format as `onnx_wire` does.

Enough of them to recognise simple graphs: attributes that are integers, constants of float32 and int64.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from churn_serving.bundle.onnx_wire import read_fields

_TYPES: Mapping[int, str] = {1: "<f4", 7: "<i8"}  # TensorProto.DataType


class Node(NamedTuple):
    """One operation."""

    domain: str
    operator: str
    inputs: list[str]
    output: str
    attributes: dict[str, int]


class Graph(NamedTuple):
    """Nodes in the order in which they run, and constants by name."""

    nodes: list[Node]
    constants: dict[str, npt.NDArray[Any]]


class _Message:
    """The fields of one message by their number."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in read_fields(memoryview(content)):
            self._fields.setdefault(number, []).append(value)

    def numbers(self, field: int) -> list[int]:
        return [value for value in self._fields.get(field, []) if isinstance(value, int)]

    def contents(self, field: int) -> list[memoryview]:
        return [value for value in self._fields.get(field, []) if not isinstance(value, int)]

    def texts(self, field: int) -> list[str]:
        return [bytes(value).decode() for value in self.contents(field)]

    def text(self, field: int) -> str:
        return "".join(self.texts(field))


def read_graph(model: bytes) -> Graph:
    """Read the main graph.

    Raises:
        ValueError: It is no protobuf message, or holds attributes or constants of other types.
    """
    (graph,) = (_Message(content) for content in _Message(model).contents(7))
    constants = dict(_constant(_Message(content)) for content in graph.contents(5))
    return Graph([_node(_Message(content)) for content in graph.contents(1)], constants)


def _node(node: _Message) -> Node:
    (output,) = node.texts(2)
    attributes = dict(_attribute(_Message(content)) for content in node.contents(5))
    return Node(node.text(7), node.text(4), node.texts(1), output, attributes)


def _attribute(attribute: _Message) -> tuple[str, int]:
    (value,) = attribute.numbers(3)
    return attribute.text(1), value


def _constant(tensor: _Message) -> tuple[str, npt.NDArray[Any]]:
    (kind,), (raw,) = tensor.numbers(2), tensor.contents(9)
    if kind not in _TYPES:
        raise ValueError("a constant is neither of float32 nor of int64")
    return tensor.text(8), np.frombuffer(raw, _TYPES[kind]).reshape(tensor.numbers(1))
