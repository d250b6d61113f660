"""`kubectl churn` against an API server: what it shows, what it changes, what it finds wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from churn_dev import tools
from churn_dev.kubectl import Kubectl, Object, condition, wait_until

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

Build = Callable[..., Object]
SECOND = {"uri": "oci://registry.example/telco:2", "digest": "sha256:" + "1" * 64}
PROGRAMS = Path(sys.executable).parent


def churn(kubectl: Kubectl, *arguments: str, code: int = 0) -> str:
    """What `kubectl churn` prints, through kubectl itself."""
    program = tools.path("kubectl")
    path = os.pathsep.join([str(PROGRAMS), str(Path(program).parent), os.environ["PATH"]])
    done = subprocess.run(
        [program, "churn", *arguments, f"--namespace={kubectl.namespace}"],
        env=os.environ | {"KUBECONFIG": str(kubectl.kubeconfig), "PATH": path, "COLUMNS": "200"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_author_sees_what_is_wrong_and_goes_back(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    first = model(replicas=1, rollback="manual")
    namespace.apply(first)
    good = kubelet.run_until_ready()["status"]["revision"]
    assert "telco in" in churn(namespace, "status")
    old = {pod["metadata"]["uid"] for pod in kubelet.pods()}

    namespace.apply(model(replicas=1, rollback="manual", model=SECOND, progressDeadlineSeconds=600))
    new = wait_until(
        lambda: [pod for pod in kubelet.pods() if pod["metadata"]["uid"] not in old], "the new revision's pod"
    )
    kubelet.report(new[0], ready=False, ended={"exitCode": 137, "reason": "OOMKilled"})
    wait_until(
        lambda: condition(namespace.get("churnmodel", "telco"), "Ready").get("reason") == "OOMKilled",
        "OOMKilled",
    )  # fmt: skip
    shown = churn(namespace, "status", "telco", code=1)
    assert "not Ready (OOMKilled)" in shown
    assert "mend: raise spec.serving.resources.limits.memory" in shown
    assert f"revision 1 ({good}) serves: 1 of 1 replicas ready" in shown

    listed = json.loads(churn(namespace, "history", "telco", "--output=json"))
    assert [(row["number"], row["state"]) for row in listed] == [(2, "asked for"), (1, "serves")]
    spec = (namespace.get("churnmodel", "telco") or {})["spec"]
    assert "registry.example/telco:1" in churn(namespace, "rollback", "telco", "--dry-run")
    assert (namespace.get("churnmodel", "telco") or {})["spec"] == spec

    assert f"asks for revision 1 ({good})" in churn(namespace, "rollback", "telco")
    back = kubelet.run_until_ready()
    assert back["status"]["revision"] == good
    assert {key: back["spec"].get(key) for key in ("model", "serving")} == {
        "model": first["spec"]["model"], "serving": spec.get("serving"),
    }  # fmt: skip
    assert "already" in churn(namespace, "rollback", "telco", "--to-revision=3")


def test_what_is_not_there_is_named_with_what_is(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    namespace.apply(model(replicas=1))
    kubelet.run_until_ready()
    assert "there are: telco" in churn(namespace, "status", "telko", code=2)
    assert "there are: 1" in churn(namespace, "rollback", "telco", "--to-revision=9", code=2)


def test_the_doctor_finds_what_an_author_overlooked(namespace: Kubectl, model: Build) -> None:
    claim = {"uri": "pvc://models/telco", "digest": SECOND["digest"]}
    serving = {"serviceAccountName": "default", "imagePullSecrets": [{"name": "registry"}]}
    wanted = model(model=claim, serving=serving, replicas=1)
    wanted["metadata"]["annotations"] = {"churnops.io/paused": "true"}
    namespace.apply(wanted)
    found = churn(namespace, "doctor", code=1)
    assert "ok  the CRD churnmodels.churnops.io is the one that this program knows" in found
    assert "NO  no operator is installed" in found  # that of this lane is a process beside the cluster
    assert "ok  you may create churnmodels.churnops.io" in found
    assert "telco is paused" in found
    assert "the claim models, which does not exist" in found
    assert "imagePullSecrets registry, which does not exist" in found
    assert "kubectl label serviceaccount default churnops.io/serving=true" in found
    assert "telco runs one replica" in found


def test_the_doctor_says_what_rights_are_missing(
    namespace: Kubectl, as_chart: Callable[..., Path], cluster: Any
) -> None:
    """The operator's own account may not score through a tunnel, nor read nodes."""
    found = churn(Kubectl(as_chart("churn-operator"), namespace.namespace), "doctor", code=1)
    assert "you may not create pods/portforward" in found
    assert "mend: ask for the role edit" in found
