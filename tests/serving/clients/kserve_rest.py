"""What a user of KServe's client writes. Prints what the client understood; its own Python runs it."""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.utils.numpy_codec import from_np_dtype

asked = json.load(sys.stdin)
url, model = "http://" + asked["address"], asked["model"]
columns = {
    name: np.array(values, dtype=np.object_ if dtype == "object" else dtype)
    for name, (dtype, values) in asked["columns"].items()
}


def request(*, binary: bool) -> InferRequest:
    inputs = []
    for name, values in columns.items():
        made = InferInput(name, list(values.shape), from_np_dtype(values.dtype))
        made.set_data_from_numpy(values, binary_data=binary)
        inputs.append(made)
    return InferRequest(model_name=model, infer_inputs=inputs, request_id="7")


def told(response: Any) -> dict[str, Any]:
    outputs = {output.name: output.as_numpy().tolist() for output in response.outputs}
    return {
        name: [each.decode() if isinstance(each, bytes) else each for each in values]
        for name, values in outputs.items()
    }


async def main():
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        v1 = {
            "live": await client.is_server_live(url),
            "model_ready": await client.is_model_ready(url, model),
            "predictions": (await client.infer(url, {"instances": asked["records"]}, model_name=model)),
            "explanations": await client.explain(url, model, {"instances": asked["records"]}),
        }
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        v2 = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": [await client.is_model_ready(url, name) for name in (model, "other")],
            "answers": {
                "JSON": told(await client.infer(url, request(binary=False), model_name=model)),
                "binary": told(await client.infer(url, request(binary=True), model_name=model)),
            },
        }
    json.dump({"v1": v1, "v2": v2}, sys.stdout)


asyncio.run(main())
