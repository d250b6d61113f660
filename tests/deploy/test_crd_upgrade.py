"""The chart's hook brings the cluster's CRD to what the new chart says."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from churn_dev.generate import CRD, ROOT
from churn_dev.kubectl import Kubectl, Object, wait_until

Render = Callable[..., list[Object]]

pytestmark = pytest.mark.api


def crd_apply(kubeconfig: Path, file: Path):
    """Runs the hook's command; its exit status and all that it printed."""
    command = [sys.executable, "-m", "churn_operator.crd_apply", file]
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def crd(api: Kubectl):
    """A CRD like ours, of a group of its own, as an earlier chart installed it."""
    crd = yaml.safe_load((ROOT / "crds" / CRD).read_text())
    crd["spec"]["group"] = "upgrade.example"
    crd["metadata"]["name"] = "churnmodels.upgrade.example"
    del crd["spec"]["names"]["shortNames"], crd["spec"]["names"]["categories"]
    api.apply(crd, manager="helm")
    api.run("wait", "--for=condition=Established", f"crd/{crd['metadata']['name']}")
    yield crd
    api.delete("crd", crd["metadata"]["name"])


@pytest.fixture
def hook_kubeconfig(api: Kubectl, render: Render, tmp_path: Path):
    """A kubeconfig with the rights of the hook's service account and no others."""
    names = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    objects = [obj for obj in render(namespace="default") if obj["kind"] in names]
    api.apply(*[obj for obj in objects if obj["metadata"]["name"] == "churn-operator-crd"])
    account = "system:serviceaccount:default:churn-operator-crd"
    wait_until(lambda: api.may(account, "patch", f"crd/{CRD.removesuffix('.yaml')}"), "the account's right")
    config = yaml.safe_load(api.kubeconfig.read_text())
    config["users"] = [
        {"name": "hook", "user": {"token": api.run("create", "token", "churn-operator-crd").strip()}}
    ]
    config["contexts"][0]["context"]["user"] = "hook"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def spec_of(crd: Object):
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def write(tmp_path: Path, crd: Object):
    file = tmp_path / "crd.yaml"
    file.write_text(yaml.safe_dump(crd))
    return file


def test_new_fields_come_and_dropped_ones_go(api: Kubectl, crd: Object, tmp_path: Path):
    newer = copy.deepcopy(crd)
    spec_of(newer)["flavour"] = {"type": "string", "description": "New in this version."}
    del spec_of(newer)["suspend"]

    assert crd_apply(api.kubeconfig, write(tmp_path, newer)) == (
        0,
        "CRD churnmodels.upgrade.example applied\n",
    )

    served = api.get("crd", crd["metadata"]["name"])
    assert spec_of(served).keys() == spec_of(newer).keys()


def test_a_change_by_hand_is_taken_back(api: Kubectl, crd: Object, tmp_path: Path):
    name = crd["metadata"]["name"]
    by_hand = copy.deepcopy(crd)
    del spec_of(by_hand)["suspend"]
    api.apply(by_hand, manager="somebody")

    assert crd_apply(api.kubeconfig, write(tmp_path, crd))[0] == 0
    assert "suspend" in spec_of(api.get("crd", name))


def test_the_hooks_account_may_apply_the_charts_crd(hook_kubeconfig: Path):
    assert crd_apply(hook_kubeconfig, ROOT / "crds" / CRD) == (0, "CRD churnmodels.churnops.io applied\n")


def test_the_hooks_account_may_not_touch_another(hook_kubeconfig: Path, crd: Object, tmp_path: Path):
    status, said = crd_apply(hook_kubeconfig, write(tmp_path, crd))
    assert status == 1
    assert said.startswith("CRD churnmodels.upgrade.example not applied: ")
    assert "forbidden" in said
    assert len(said.splitlines()) == 1


def test_a_silent_api_server_is_named(api: Kubectl, tmp_path: Path):
    config = yaml.safe_load(api.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    status, said = crd_apply(kubeconfig, ROOT / "crds" / CRD)
    assert status == 1
    assert said.startswith("CRD churnmodels.churnops.io not applied: ")
    assert "127.0.0.1" in said
