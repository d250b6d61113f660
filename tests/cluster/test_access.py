"""Who may ask, with a Secret that a kubelet mounts."""

from pathlib import Path

import grpc
import httpx
import pytest

from churn_dev.bundles import Models
from churn_dev.churnmodel import SMALL, churn_model, service_url, wait_ready
from churn_dev.kubectl import Kubectl, Object, condition, wait_until
from churn_serving.keyfile import add_key
from churn_serving.server.oip import inference_pb2

pytestmark = pytest.mark.cluster

MODEL_READY = "/inference.GRPCInferenceService/ModelReady"


def test_a_model_without_its_keys_names_the_file_and_with_them_asks_for_one_over_http_and_grpc(
    namespace: Kubectl, models: Models, customers: list[Object], tmp_path: Path
) -> None:
    serving = {"resources": SMALL, "auth": {"apiKeysSecret": "telco-keys"}, "grpc": True}
    namespace.apply(churn_model("telco", models.first.model, serving=serving))

    def refused() -> str | None:
        said = condition(namespace.get("churnmodel", "telco"), "ModelLoaded")
        return said["message"] if said.get("reason") == "ConfigInvalid" else None

    assert "keys.json" in wait_until(refused, "the reason of the server that misses its keys")

    key = add_key(tmp_path / "keys.json", "shop", None, None)
    namespace.run("create", "secret", "generic", "telco-keys", f"--from-file={tmp_path / 'keys.json'}")
    # The kubelet starts the container again after 10, 20, 40 s and refreshes the volume by then.
    wait_ready(namespace, "telco", seconds=240)

    url = service_url(namespace, "telco")
    bearer = {"Authorization": f"Bearer {key}"}
    asked = {"records": customers}
    assert httpx.post(f"{url}/predict", json=asked, timeout=60).status_code == 401
    assert httpx.post(f"{url}/predict", json=asked, headers=bearer, timeout=60).status_code == 200
    assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    with grpc.insecure_channel(f"{httpx.URL(url).host}:9000") as channel:
        ready = channel.unary_unary(
            MODEL_READY,
            request_serializer=inference_pb2.ModelReadyRequest.SerializeToString,
            response_deserializer=inference_pb2.ModelReadyResponse.FromString,
        )
        question = inference_pb2.ModelReadyRequest(name="telco")
        assert ready(question, timeout=60, metadata=(("authorization", f"Bearer {key}"),)).ready
        with pytest.raises(grpc.RpcError) as without:
            ready(question, timeout=60)
        assert without.value.code() is grpc.StatusCode.UNAUTHENTICATED
