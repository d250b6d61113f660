"""The protocol's messages over gRPC: tensors out of requests, outputs into replies."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from churn_serving.server.http import RequestError
from churn_serving.server.oip import inference_pb2 as pb
from churn_serving.server.oip.datatypes import NUMBERS, TEXT
from churn_serving.server.oip.infer import Inferred, Wanted, pack, read_wanted
from churn_serving.server.oip.tensors import Tensor, check_count, check_sizes, read_packed, read_shape, refuse
from churn_serving.settings import Settings

# Protocol Buffers' kinds of fields; a number is in parts of seven bits.
_NUMBER, _DELIMITED, _FIXED = 0, 2, {1: 8, 5: 4}
_MORE, _MAX_BITS = 0x80, 70
# Where each datatype's contents lie. FP16 has no field: it is sent raw.
_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    TEXT: "bytes_contents",
}


def read_message(kind: Any, content: bytes) -> Any:
    """A message of this kind.

    Raises:
        RequestError: It is none.
    """
    try:
        return kind.FromString(content)
    except DecodeError:
        raise RequestError(
            400, "malformed_message", f"the message is no {kind.DESCRIPTOR.full_name}"
        ) from None


def check_fields(content: bytes, most: int) -> None:
    """Refuse a message of more fields, before they are made: two bytes become a tensor without contents.

    Only the message's own fields are counted; of those inside them none takes much more than it did.

    Raises:
        RequestError: 413.
    """
    at = fields = 0
    while at < len(content):
        fields += 1
        if fields > most:
            message = f"the message has more than {most} inputs and outputs; send fewer records at once"
            raise RequestError(413, "too_many_values", message)
        tag, at = _read_number(content, at)
        kind = tag & 7
        if kind in _FIXED:
            at += _FIXED[kind]
        elif kind in {_NUMBER, _DELIMITED}:
            value, at = _read_number(content, at)
            at += value if kind == _DELIMITED else 0


def _read_number(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content) and shift < _MAX_BITS:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _MORE:
            break
        shift += 7
    return value, at


def read_tensors(request: pb.ModelInferRequest, settings: Settings) -> list[Tensor]:
    """The inputs, raw or with typed contents.

    Raises:
        RequestError: There are too many values, or an input's shape, datatype and contents do not agree.
    """
    check_sizes(request.id, request.inputs, settings)
    raw = request.raw_input_contents
    if not raw:
        return [_read_contents(each) for each in request.inputs]
    if len(raw) != len(request.inputs) or any(each.HasField("contents") for each in request.inputs):
        message = "raw_input_contents must have an entry for each input, and no input contents of its own"
        raise RequestError(400, "invalid_request", message)
    return [
        read_packed(each.name, each.datatype, each.shape, content)
        for each, content in zip(request.inputs, raw, strict=True)
    ]


def read_asked(request: pb.ModelInferRequest) -> Wanted:
    """Which outputs are asked for.

    Raises:
        RequestError: There is no such output, or the parameter `explain` is wrong.
    """
    explain = request.parameters.get("explain")
    value = False if explain is None else getattr(explain, explain.WhichOneof("parameter_choice") or "", None)
    return read_wanted([output.name for output in request.outputs], value)


def write_reply(request: pb.ModelInferRequest, answer: Inferred) -> bytes:
    """The reply; its outputs are raw."""
    told = pb.ModelInferResponse.InferOutputTensor
    reply = pb.ModelInferResponse(
        model_name=request.model_name,
        model_version=answer.version,
        id=request.id,
        outputs=[
            told(name=output.name, datatype=output.datatype, shape=[len(output.cells)])
            for output in answer.outputs
        ],
        raw_output_contents=[pack(output) for output in answer.outputs],
    )
    reply.parameters["threshold"].double_param = answer.threshold
    return reply.SerializeToString()


def _read_contents(tensor: pb.ModelInferRequest.InferInputTensor) -> Tensor:
    name, datatype = tensor.name, tensor.datatype
    rows, columns = read_shape(name, tensor.shape)
    field = _FIELDS.get(datatype)
    if field is None:
        raise refuse(name, f"contents are of one of {', '.join(_FIELDS)}; other datatypes are sent raw")
    contents: Sequence[Any] = getattr(tensor.contents, field)
    check_count(name, len(contents), rows * columns)
    return Tensor(name, datatype, rows, columns, _cells(name, datatype, contents))


def _cells(name: str, datatype: str, contents: Sequence[Any]) -> Any:
    try:
        if datatype == TEXT:
            return [text.decode() for text in contents]
        return np.array(list(contents), dtype=NUMBERS[datatype])
    except (OverflowError, UnicodeDecodeError):
        raise refuse(name, f"its contents hold a value that is no {datatype}") from None
