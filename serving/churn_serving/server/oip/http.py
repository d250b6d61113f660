"""The protocol over HTTP: JSON, and the extension that sends tensors as bytes behind it."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from churn_serving.server.bounds import check_nesting, check_values, nested_too_deeply
from churn_serving.server.http import Header, Reply, RequestError, encode_json, plain_error_reply
from churn_serving.server.oip.infer import Inferred, Wanted, find_routes, infer, pack, read, read_wanted
from churn_serving.server.oip.pages import describe_model, describe_server
from churn_serving.server.oip.tensors import Tensor, check_sizes, read_data, read_packed, refuse
from churn_serving.server.records import malformed, refuse_duplicate_keys
from churn_serving.server.routes import Body, Route
from churn_serving.server.state import Serving
from churn_serving.settings import Settings

_HEADER_LENGTH = b"inference-header-content-length"
_OCTETS = b"application/octet-stream"
_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer)?/?")
_Parameters = dict[str, Any]


class _Input(Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: _Parameters | None = None


class _Asked(Struct):
    name: str
    parameters: _Parameters | None = None


class _Request(Struct):
    """Fields that the protocol does not know are left alone: extensions bring their own."""

    inputs: list[_Input]
    outputs: list[_Asked] | None = None
    parameters: _Parameters | None = None
    id: str | None = None


class _Told(Struct, omit_defaults=True):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | UnsetType = UNSET
    parameters: _Parameters | UnsetType = UNSET


class _Reply(Struct, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[_Told]
    parameters: _Parameters
    id: str | UnsetType = UNSET


def find(path: str) -> Route:
    """What answers a path below /v2."""
    fixed = _FIXED.get(path.rstrip("/"))
    if fixed is not None:
        return fixed
    found = _MODEL.fullmatch(path)
    if found is None:
        return Route("unmatched", page=_nothing, to_error=error_reply)
    name, version, what = found.groups()
    template = f"/v2/models/{{model}}{'/versions/{version}' if version else ''}{what or ''}"
    if what == "/infer":
        return Route(template, post=partial(_infer, name=name, version=version), to_error=error_reply)
    page = _model_ready if what == "/ready" else _model
    return Route(template, page=partial(page, name=name, version=version), to_error=error_reply)


def error_reply(error: RequestError) -> Reply:
    """`{"error": message}`. What is wrong with the records is a 400 here: the protocol knows no 422."""
    if error.status == 422:
        error = RequestError(400, error.code, error.message, error.details, error.headers)
    return plain_error_reply(error)


def _nothing(_serving: Serving) -> Reply:
    raise RequestError(404, "not_found", "there is no such path; /docs lists them")


def _server(_serving: Serving) -> Reply:
    return _json(describe_server())


def _live(_serving: Serving) -> Reply:
    return _json({"live": True})


def _ready(serving: Serving) -> Reply:
    # The protocol says no with a 4xx.
    if not serving.ready:
        raise RequestError(400, "draining", "this server is shutting down")
    return _json({"ready": True})


def _model_ready(serving: Serving, name: str, version: str | None) -> Reply:
    find_routes(serving.table, name, version)
    _ready(serving)
    return _json({"name": name, "ready": True})


def _model(serving: Serving, name: str, version: str | None) -> Reply:
    return _json(describe_model(find_routes(serving.table, name, version)))


_FIXED = {
    route.template: route
    for route in (
        Route("/v2", page=_server, to_error=error_reply),
        Route("/v2/health/live", page=_live, to_error=error_reply),
        Route("/v2/health/ready", page=_ready, to_error=error_reply),
    )
}


async def _infer(serving: Serving, body: Body, name: str, version: str | None) -> Reply:
    table = find_routes(serving.table, name, version)
    small = len(body.content) <= serving.settings.inline_bytes

    def work() -> Any:
        request, tensors, wanted = _read_request(body, serving.settings)
        return request, wanted, read(serving, table, tensors)

    request, wanted, asked = work() if small else await serving.aside(work)
    answer = await infer(serving, asked, wanted, small=small)
    return _write(request, table.name, answer)


def _read_request(body: Body, settings: Settings) -> tuple[_Request, list[Tensor], Wanted]:
    content, packed = _split(body)
    check_values(content, settings.max_values)
    try:
        decoded = msgspec.json.decode(content)
        check_nesting(decoded, settings.max_nesting)
        request = msgspec.convert(decoded, _Request)
    except msgspec.ValidationError as error:
        raise RequestError(400, "invalid_request", _told(error)) from None
    except RecursionError:
        raise nested_too_deeply() from None
    except ValueError as error:
        raise RequestError(400, "malformed_json", malformed(error)) from None
    check_sizes(request.id or "", request.inputs, settings)
    refuse_duplicate_keys(content, _count_keys(decoded))
    parameters = request.parameters or {}
    wanted = read_wanted([output.name for output in request.outputs or ()], parameters.get("explain", False))
    return request, _read_tensors(request.inputs, packed), wanted


def _told(error: msgspec.ValidationError) -> str:
    """Where and what, without a value: msgspec's messages name types and a path."""
    return f"the body is no inference request: {error}"[:500]


def _split(body: Body) -> tuple[bytes, bytes | None]:
    """The JSON and what lies behind it, where a header says how long the JSON is."""
    length = content_type = b""
    for name, value in body.headers:
        if name == _HEADER_LENGTH:
            length = value
        elif name == b"content-type":
            content_type = value.partition(b";")[0].strip().lower()
    if content_type not in {b"", b"application/json", _OCTETS}:
        message = "send application/json, or application/octet-stream with Inference-Header-Content-Length"
        raise RequestError(415, "unsupported_media_type", message)
    if not length:
        return body.content, None
    if not length.isdigit() or len(length) > 12 or int(length) > len(body.content):
        raise RequestError(400, "invalid_request", "Inference-Header-Content-Length does not fit the body")
    end = int(length)
    return body.content[:end], body.content[end:]


def _count_keys(value: Any) -> int:
    """Keys of every object outside of tensors' data, which holds none that is read."""
    if isinstance(value, dict):
        return len(value) + sum(_count_keys(each) for key, each in value.items() if key != "data")
    return sum(map(_count_keys, value)) if isinstance(value, list) else 0


def _read_tensors(inputs: Sequence[_Input], packed: bytes | None) -> list[Tensor]:
    tensors, at = [], 0
    for each in inputs:
        size = (each.parameters or {}).get("binary_data_size")
        if size is None:
            if each.data is None:
                raise refuse(each.name, "has neither data nor the parameter binary_data_size")
            tensors.append(read_data(each.name, each.datatype, each.shape, each.data))
            continue
        if packed is None or type(size) is not int or not 0 <= size <= len(packed) - at:
            problem = "its binary_data_size does not fit the bytes behind Inference-Header-Content-Length"
            raise refuse(each.name, problem)
        tensors.append(read_packed(each.name, each.datatype, each.shape, packed[at : at + size]))
        at += size
    if packed is not None and at != len(packed):
        message = f"{len(packed) - at} bytes behind the JSON belong to no input"
        raise RequestError(400, "invalid_request", message)
    return tensors


def _write(request: _Request, name: str, answer: Inferred) -> Reply:
    usual = (request.parameters or {}).get("binary_data_output") is True
    binary = {
        asked.name: (asked.parameters or {}).get("binary_data", usual) is True
        for asked in request.outputs or ()
    }
    told, packed = [], []
    for output in answer.outputs:
        shape = [len(output.cells)]
        if binary.get(output.name, usual):
            content = pack(output)
            packed.append(content)
            parameters = {"binary_data_size": len(content)}
            told.append(_Told(output.name, output.datatype, shape, parameters=parameters))
        else:
            data = output.cells if isinstance(output.cells, list) else output.cells.tolist()
            told.append(_Told(output.name, output.datatype, shape, data=data))
    reply = _Reply(name, answer.version, told, {"threshold": answer.threshold}, request.id or UNSET)
    content = encode_json(reply)
    if not packed:
        return Reply(200, content)
    headers: tuple[Header, ...] = ((_HEADER_LENGTH, b"%d" % len(content)),)
    return Reply(200, b"".join([content, *packed]), _OCTETS, headers)


def _json(content: Any) -> Reply:
    return Reply(200, encode_json(content))
