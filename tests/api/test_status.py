"""What the ChurnModel says of itself, from what a kubelet reports of its pods."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from churn_dev.kubectl import Kubectl, Object, condition, wait_until

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

Build = Callable[..., Object]
BAD = {"uri": "oci://registry.example/telco:2", "digest": "sha256:" + "1" * 64}


def ended(reason: str, message: str) -> Object:
    """A container that says why it ended."""
    return {"exitCode": 1, "reason": "Error", "message": json.dumps({"reason": reason, "message": message})}


def wait_for(kubectl: Kubectl, kind: str, status: str, reason: str) -> Object:
    """The ChurnModel once a condition has this status and reason."""

    def said() -> Object | None:
        seen = kubectl.get("churnmodel", "telco")
        found = condition(seen, kind)
        return seen if (found.get("status"), found.get("reason")) == (status, reason) else None

    return wait_until(said, f"{kind} is {status}/{reason}")


def new_pods(kubelet: Any, old: list[Object]) -> list[Object]:
    known = {pod["metadata"]["uid"] for pod in old}
    return wait_until(
        lambda: [pod for pod in kubelet.pods() if pod["metadata"]["uid"] not in known], "pods of the rollout"
    )


def test_ready_once_its_replicas_are(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    namespace.apply(model())
    seen = wait_for(namespace, "Ready", "False", "RollingOut")
    assert condition(seen, "Reconciling")["status"] == "True"
    assert condition(seen, "Available")["status"] == "False"
    assert condition(seen, "ModelLoaded")["status"] == "Unknown"
    kubelet.run_until_ready()
    status = (namespace.get("churnmodel", "telco") or {})["status"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Ready": "True",
        "Available": "True",
        "ModelLoaded": "True",
    }
    assert (status["replicas"], status["url"]) == (2, f"http://telco.{namespace.namespace}.svc")
    assert status["servedRevision"] == status["revision"]
    columns = namespace.run("get", "churn", "--no-headers").split()
    assert columns[:5] == ["telco", "True", "000000000000", "2", status["url"]]


def test_kubectl_can_wait_for_it(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    namespace.apply(model(replicas=1))
    kubelet.run_until_ready()
    namespace.run("wait", "--for=condition=Ready", "churn/telco", "--timeout=10s")


@pytest.mark.parametrize("state", ["state", "lastState"])
def test_a_bad_bundle_shows_its_reason_while_the_old_one_serves(
    namespace: Kubectl, model: Build, kubelet: Any, state: str
) -> None:
    namespace.apply(model())
    before = kubelet.run_until_ready()["status"]
    old = kubelet.pods()
    namespace.apply(model(model=BAD))
    (pod,) = new_pods(kubelet, old)
    container = {"name": "server", "image": "x", "imageID": "", "ready": False, "restartCount": 1}
    container[state] = {"terminated": ended("GoldenMismatch", "row 3: 0.41 is not 0.43")}
    namespace.run(
        "patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge",
        f"--patch={json.dumps({'status': {'phase': 'Running', 'containerStatuses': [container]}})}",
    )  # fmt: skip
    seen = wait_for(namespace, "ModelLoaded", "False", "GoldenMismatch")
    assert condition(seen, "ModelLoaded")["message"] == "row 3: 0.41 is not 0.43"
    assert condition(seen, "Ready")["reason"] == condition(seen, "Stalled")["reason"] == "GoldenMismatch"
    assert condition(seen, "Available")["status"] == "True"
    assert seen["status"]["servedRevision"] == before["revision"] != seen["status"]["revision"]
    assert seen["status"]["digest"] == before["digest"]

    def told() -> bool:
        events = namespace.list("events.events.k8s.io")
        return ("Warning", "GoldenMismatch") in {(e["type"], e["reason"]) for e in events}

    wait_until(told, "the event")


def test_an_old_bundle_heals_at_once(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    namespace.apply(model())
    kubelet.run_until_ready()
    old = kubelet.pods()
    namespace.apply(model(model=BAD))
    (pod,) = new_pods(kubelet, old)
    kubelet.report(pod, ready=False, ended=ended("DigestMismatch", "no"))
    wait_for(namespace, "Stalled", "True", "DigestMismatch")
    namespace.apply(model())
    seen = wait_for(namespace, "Ready", "True", "Ready")
    assert condition(seen, "Stalled") == {}
    assert {p["metadata"]["uid"] for p in kubelet.pods()} == {p["metadata"]["uid"] for p in old}


def test_what_cannot_be_fetched_is_tried_again(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    """The store may come back: reconciling, not stalled."""
    store = {"uri": "s3://bucket/telco", "digest": "sha256:" + "2" * 64}
    namespace.apply(model(model=store, replicas=1))
    (pod,) = new_pods(kubelet, [])
    fetch = {"name": "fetch", "image": "x", "imageID": "", "ready": False, "restartCount": 1}
    fetch["state"] = {"terminated": ended("FetchFailed", "bucket: 403")}
    namespace.run(
        "patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge",
        f"--patch={json.dumps({'status': {'phase': 'Pending', 'initContainerStatuses': [fetch]}})}",
    )  # fmt: skip
    seen = wait_for(namespace, "Reconciling", "True", "FetchFailed")
    assert condition(seen, "Stalled") == {}


def test_scaling_up_does_not_flip_ready(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    namespace.apply(model(replicas=1))
    kubelet.run_until_ready()
    since = condition(namespace.get("churnmodel", "telco"), "Ready")["lastTransitionTime"]
    namespace.run("scale", "churn/telco", "--replicas=4")

    def counted() -> Object | None:
        seen = namespace.get("churnmodel", "telco")
        return seen if seen and seen["status"]["replicas"] == 4 else None

    seen = wait_until(counted, "4 replicas")
    assert condition(seen, "Ready")["status"] == "True"
    kubelet.run_until_ready()
    assert condition(namespace.get("churnmodel", "telco"), "Ready")["lastTransitionTime"] == since


def test_replicas_that_break_flip_ready(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    namespace.apply(model())
    kubelet.run_until_ready()
    for pod in kubelet.pods():
        kubelet.report(pod, ready=False, ended={"exitCode": 137, "reason": "OOMKilled"})
    wait_for(namespace, "Ready", "False", "OOMKilled")
    # Ready falls with the first of the two, Available with the last.
    wait_for(namespace, "Available", "False", "NoReplica")


def test_a_new_threshold_restarts_nothing_and_reaches_the_pods(
    namespace: Kubectl, model: Build, kubelet: Any
) -> None:
    namespace.apply(model(decision={"threshold": 0.4}))
    kubelet.run_until_ready()
    before = {pod["metadata"]["uid"]: pod["metadata"]["annotations"] for pod in kubelet.pods()}
    namespace.apply(model(decision={"threshold": 0.6}))

    def stamped() -> bool:
        after = {pod["metadata"]["uid"]: pod["metadata"]["annotations"] for pod in kubelet.pods()}
        return after.keys() == before.keys() and all(after[uid] != before[uid] for uid in before)

    wait_until(stamped, "the pods are told")
    config = json.loads((namespace.get("configmap", "telco") or {})["data"]["serving.json"])
    (entry,) = config["revisions"].values()
    assert entry["decision"] == {"threshold": 0.6}


def test_a_threshold_that_comes_with_a_model_does_not_reach_the_old_one(
    namespace: Kubectl, model: Build, kubelet: Any
) -> None:
    namespace.apply(model(decision={"threshold": 0.4}))
    first = kubelet.run_until_ready()["status"]["revision"]
    old = kubelet.pods()
    namespace.apply(model(model=BAD, decision={"threshold": 0.6}))
    new_pods(kubelet, old)
    config = json.loads((namespace.get("configmap", "telco") or {})["data"]["serving.json"])
    second = (namespace.get("deployment", "telco") or {})["spec"]["template"]["metadata"]["labels"][
        "churnops.io/revision"
    ]
    assert {revision: entry["decision"] for revision, entry in config["revisions"].items()} == {
        first: {"threshold": 0.4},
        second: {"threshold": 0.6},
    }
    namespace.delete("configmap", "telco", wait=False)

    def made_again() -> Object | None:
        found = namespace.get("configmap", "telco")
        return json.loads(found["data"]["serving.json"])["revisions"] if found else None

    entries = wait_until(made_again, "the ConfigMap is back")
    assert entries[first]["decision"] == {"threshold": 0.4}
    kubelet.run_until_ready()
    wait_until(lambda: (made_again() or {}).keys() == {second}, "the old entry is gone")


def test_history_is_kept_as_long_as_the_limit_says(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    """The operator of this lane keeps two old revisions."""
    for number in range(5):
        digest = f"sha256:{number:064x}"
        namespace.apply(model(replicas=1, model={"uri": "oci://registry.example/telco:1", "digest": digest}))
        kubelet.run_until_ready()

    def numbers() -> list[int]:
        return sorted(r["revision"] for r in namespace.list("controllerrevision", "churnops.io/model=telco"))

    wait_until(lambda: numbers() == [3, 4, 5], "three revisions")
