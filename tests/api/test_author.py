"""Who may write ChurnModels gains nothing by it: no host, no identity, no Secret and no image of others."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from churn_dev.kubectl import Kubectl, KubectlError, Object, condition, wait_until

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

Build = Callable[..., Object]
DIGEST = "sha256:" + "0" * 64

NOT_THERE: dict[str, tuple[str, object]] = {
    "a path of the host": ("volumes", [{"name": "h", "hostPath": {"path": "/"}}]),
    "a mount": ("volumeMounts", [{"name": "h", "mountPath": "/models"}]),
    "the host's network": ("hostNetwork", True),
    "the host's processes": ("hostPID", True),
    "more privileges": ("securityContext", {"privileged": True, "runAsUser": 0}),
    "another program": ("command", ["sh"]),
    "a value of a Secret": (
        "env",
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "b", "key": "c"}}}],
    ),
    "a container beside it": ("containers", [{"name": "a", "image": "a"}]),
    "a node of choice": ("nodeName", "node-1"),
    "a token": ("automountServiceAccountToken", True),
}
"""What a pod has and spec.serving has not."""

REFUSED: dict[str, tuple[Object, str]] = {
    "a Secret elsewhere": (
        {"model": {"uri": "https://a.example/b", "digest": DIGEST, "credentialsSecret": "other/store"}},
        "credentialsSecret",
    ),
    "a pull secret elsewhere": (
        {"serving": {"imagePullSecrets": [{"name": "other/store"}]}},
        "imagePullSecrets",
    ),
    "an account elsewhere": ({"serving": {"serviceAccountName": "other:builder"}}, "serviceAccountName"),
    "a claim elsewhere": ({"model": {"uri": "pvc://other/../claim", "digest": DIGEST}}, "uri"),
    "a file of the node": ({"model": {"uri": "file:///etc", "digest": DIGEST}}, "uri"),
    "labels of the operator": ({"serving": {"podLabels": {"churnops.io/model": "other"}}}, "podLabels"),
}


@pytest.mark.parametrize("what", NOT_THERE)
def test_what_a_model_does_not_need_cannot_be_asked_for(namespace: Kubectl, model: Build, what: str) -> None:
    field, value = NOT_THERE[what]
    asked = model(serving={field: value})
    with pytest.raises(KubectlError, match=f"{field}.* not declared|unknown field .*{field}"):
        namespace.apply(asked)
    namespace.run("create", "--validate=false", "--filename=-", stdin=json.dumps(asked))
    kept = namespace.get("churnmodel", "telco") or {}
    assert kept["spec"].get("serving", {}) == {}
    namespace.delete("churnmodel", "telco")


@pytest.mark.parametrize("what", REFUSED)
def test_what_belongs_to_others_is_refused(namespace: Kubectl, model: Build, what: str) -> None:
    spec, field = REFUSED[what]
    with pytest.raises(KubectlError, match=field):
        namespace.apply(model(**spec))


def test_an_image_from_elsewhere_makes_no_pod(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    operator.stop()
    limited = dataclasses.replace(
        operator, settings={"SERVING_IMAGE_PREFIXES": '["registry.example/allowed"]'}
    )
    limited.start()
    try:
        namespace.apply(model(serving={"image": "registry.example/allowed/serving:1"}))
        kubelet.run_until_ready()
        before = namespace.get("deployment", "telco") or {}
        for image in ("elsewhere.example/serving:1", "registry.example/allowed-too/serving:1"):
            namespace.apply(model(serving={"image": image}))
            wait_until(partial(_stalled_for, namespace, image), f"{image} refused")
            assert (namespace.get("deployment", "telco") or {})["spec"] == before["spec"]
    finally:
        assert limited.stop() == 0
        operator.start()


def _stalled_for(kubectl: Kubectl, image: str) -> bool:
    said = condition(kubectl.get("churnmodel", "telco"), "Stalled")
    return said.get("reason") == "ImageNotAllowed" and image in said["message"]
