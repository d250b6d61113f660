"""What a user of tritonclient writes. Prints what the client understood; its own Python runs it."""

import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

asked = json.load(sys.stdin)
model = asked["model"]
client = triton.InferenceServerClient(asked["address"])
columns = {
    name: np.array(values, dtype=np.object_ if dtype == "object" else dtype)
    for name, (dtype, values) in asked["columns"].items()
}
matrix = np.array(asked["matrix"], dtype=np.float64)


def tensor(name: str, values: Any, **options: Any) -> triton.InferInput:
    made = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    made.set_data_from_numpy(values, **options)
    return made


def told(result: Any) -> dict[str, Any]:
    return {
        "version": result.get_response()["model_version"],
        "probability": result.as_numpy("probability").tolist(),
        "label": [
            label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label")
        ],
        "decision": result.as_numpy("decision").tolist(),
    }


inputs = [tensor(name, values) for name, values in columns.items()]
as_json = [tensor(name, values, binary_data=False) for name, values in columns.items()]
outputs = [
    triton.InferRequestedOutput(name, binary_data=False) for name in ("label", "probability", "decision")
]
only = client.infer(model, inputs, outputs=[triton.InferRequestedOutput("probability")], request_id="7")
try:
    client.infer(model, inputs[1:])
    error = None
except InferenceServerException as refused:
    error = [refused.status(), refused.message()]

json.dump(
    {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [
            client.is_model_ready(model),
            client.is_model_ready(model, asked["version"]),
            client.is_model_ready("other"),
        ],
        "server": client.get_server_metadata(),
        "metadata": client.get_model_metadata(model, asked["version"]),
        "answers": {
            "as it comes": told(client.infer(model, inputs)),
            "a version": told(client.infer(model, inputs, model_version=asked["version"])),
            "JSON in": told(client.infer(model, as_json)),
            "JSON out": told(client.infer(model, inputs, outputs=outputs)),
            "gzip": told(client.infer(model, inputs, request_compression_algorithm="gzip")),
            "deflate": told(
                client.infer(
                    model,
                    as_json,
                    request_compression_algorithm="deflate",
                    response_compression_algorithm="gzip",
                )
            ),
            "a matrix": told(client.infer(model, [tensor("x", matrix)])),
        },
        "only": [only.as_numpy("probability").tolist(), only.as_numpy("label"), only.get_response()["id"]],
        "error": error,
    },
    sys.stdout,
)
