"""External data is found wherever a graph can hold a tensor, without ONNX Runtime."""

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from churn_serving.bundle.onnx_wire import has_external_data
from churn_serving.errors import OnnxInvalidError
from churn_serving.scorer import Scorer


def external(name: str = "t") -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/hostname")
    return tensor


def graph(*nodes: onnx.NodeProto, tensors: tuple[onnx.TensorProto, ...] = ()) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "g", [], [], list(tensors))


def model(graph: onnx.GraphProto) -> bytes:
    return helper.make_model(graph).SerializeToString()


def in_a_subgraph() -> onnx.GraphProto:
    branch = graph(tensors=(external(),))
    return graph(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=graph()))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(model(graph(tensors=(external(),))), id="initializer"),
        pytest.param(model(graph(helper.make_node("Constant", [], ["y"], value=external()))), id="constant"),
        pytest.param(model(in_a_subgraph()), id="subgraph"),
    ],
)
def test_a_tensor_in_another_file_is_refused(content: bytes):
    assert has_external_data(content)
    with pytest.raises(OnnxInvalidError, match="other files"):
        Scorer(content, features=1, positive=1)


def test_the_word_location_in_a_document_string_is_no_external_data():
    plain = helper.make_model(graph(), doc_string="location")
    plain.metadata_props.add(key="location", value="Zürich")
    assert not has_external_data(plain.SerializeToString())


@given(st.binary(max_size=300))
def test_any_bytes_end_in_an_answer_or_a_value_error(content: bytes):
    try:
        has_external_data(content)
    except ValueError:
        return
