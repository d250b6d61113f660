"""What a user of tritonclient writes for gRPC. Prints what the client understood; its own Python runs it."""

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

asked = json.load(sys.stdin)
model = asked["model"]
client = triton.InferenceServerClient(asked["grpc_address"])
columns = {
    name: np.array(values, dtype=np.object_ if dtype == "object" else dtype)
    for name, (dtype, values) in asked["columns"].items()
}
matrix = np.array(asked["matrix"], dtype=np.float64)


def tensor(name: str, values: Any) -> triton.InferInput:
    made = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    made.set_data_from_numpy(values)
    return made


def told(result: Any) -> dict[str, Any]:
    return {
        "version": result.get_response().model_version,
        "probability": result.as_numpy("probability").tolist(),
        "label": [label.decode() for label in result.as_numpy("label")],
        "decision": result.as_numpy("decision").tolist(),
    }


def refused(model: str, given: list[triton.InferInput], **options: Any) -> list[str] | None:
    try:
        client.infer(model, given, **options)
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


inputs = [tensor(name, values) for name, values in columns.items()]
only = client.infer(model, inputs, outputs=[triton.InferRequestedOutput("probability")], request_id="7")
reasons = client.infer(model, inputs, parameters={"explain": 2})

json.dump(
    {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready(model), client.is_model_ready(model, asked["version"])],
        "server": client.get_server_metadata(as_json=True),
        "metadata": client.get_model_metadata(model, asked["version"], as_json=True),
        "answers": {
            "as it comes": told(client.infer(model, inputs)),
            "a version": told(client.infer(model, inputs, model_version=asked["version"])),
            "a matrix": told(client.infer(model, [tensor("x", matrix)])),
        },
        "only": [
            only.as_numpy("probability").tolist(),
            only.as_numpy("label"),
            only.get_response().id,
            only.get_response().parameters["threshold"].double_param,
        ],
        "reasons": [len(json.loads(each)["reasons"]) for each in reasons.as_numpy("reasons")],
        "errors": {
            "a column is missing": refused(model, inputs[1:]),
            "another model": refused("other", inputs),
            "another version": refused(model, inputs, model_version="9"),
            "compressed": refused(model, inputs, compression_algorithm="gzip"),
        },
    },
    sys.stdout,
)
