import json
from typing import Any

import pytest

from churn_operator.observe import LAST_APPLIED, Failure, find_failure, trim, trim_model, trim_pod


def said(reason: str, message: str = "why"):
    return {"exitCode": 1, "reason": "Error", "message": json.dumps({"reason": reason, "message": message})}


def status(*containers: Any, **more: Any):
    return {"containerStatuses": list(containers)} | more


def server(ready: bool = False, **states: Any):
    return {"name": "server", "ready": ready, **states}


def test_a_container_that_says_why_it_ended_is_quoted():
    ended = server(state={"terminated": said("GoldenMismatch", "row 3")})
    assert find_failure(status(ended)) == Failure("GoldenMismatch", "row 3")


def test_its_last_words_count_while_it_is_tried_again():
    again = server(
        state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": said("FileMismatch")}
    )
    assert find_failure(status(again)) == Failure("FileMismatch", "why")


def test_the_fetching_container_is_heard_too():
    fetch = {"name": "fetch", "ready": False, "state": {"terminated": said("FetchFailed")}}
    assert find_failure({"initContainerStatuses": [fetch]}) == Failure("FetchFailed", "why")


def test_a_ready_container_has_no_failure_whatever_it_said_before():
    assert find_failure(status(server(ready=True, lastState={"terminated": said("FileMismatch")}))) is None


@pytest.mark.parametrize(
    "message",
    ["", "panic: x", "{", "[]", "null", '{"reason": "Hacked", "message": "x"}', '{"reason": ["a"]}'],
)
def test_other_last_words_are_not_taken_for_a_reason(message: str):
    ended = server(state={"terminated": {"exitCode": 2, "message": message}})
    assert find_failure(status(ended)) == Failure(
        "ContainerFailed", "Container server ended with exit code 2"
    )


@pytest.mark.parametrize(
    ("waiting", "failure"),
    [
        ({"reason": "ErrImagePull", "message": "no such image"}, Failure("ImagePullFailed", "no such image")),
        (
            {
                "reason": "ImagePullBackOff",
                "message": 'Back-off pulling image "x": ErrImagePull: no such image',
            },
            Failure("ImagePullFailed", "no such image"),
        ),
        (
            {"reason": "CreateContainerConfigError", "message": 'secret "store" not found'},
            Failure("ContainerConfigFailed", 'secret "store" not found'),
        ),
    ],
)
def test_what_a_container_waits_for_is_told(waiting: Any, failure: Any):
    assert find_failure(status(server(state={"waiting": waiting}))) == failure


def test_a_pod_without_a_node_says_so():
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
    assert find_failure({"conditions": [scheduled]}) == Failure("Unschedulable", "0/2 nodes")


def test_memory_is_named():
    ended = server(lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    assert find_failure(status(ended)).reason == "OOMKilled"


def test_messages_are_cut_and_put_on_one_line():
    ended = server(state={"terminated": said("GoldenMismatch", "a\nb " + "x" * 5000)})
    message = find_failure(status(ended)).message
    assert message.startswith("a b x")
    assert len(message) == 1024


def test_only_what_matters_of_a_pod_is_kept():
    pod = {
        "metadata": {
            "namespace": "shop", "name": "telco-1", "uid": "u", "resourceVersion": "3",
            "creationTimestamp": "t",
            "labels": {"churnops.io/model": "telco", "churnops.io/revision": "r"}, "managedFields": [{}],
            "annotations": {"churnops.io/config-digest": "d"}, "deletionTimestamp": "t",
        },
        "spec": {"containers": [{}]},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastProbeTime": "x"}]},
    }  # fmt: skip
    kept = trim_pod(pod)
    assert kept.keys() == {"metadata", "pod"}
    seen = kept["pod"]
    assert (seen.revision, seen.config_digest, seen.ready, seen.deleting) == ("r", "d", True, True)


def test_of_managed_fields_only_ours_are_kept():
    ours = {"manager": "churn-operator", "time": "t", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    others = [
        {"manager": "kubectl", "time": "x", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "churn-operator", "subresource": "status", "time": "x"},
    ]
    kept = trim({"metadata": {"name": "telco", "managedFields": [ours, *others]}})
    assert kept["managed"] == [{"time": "t", "replicas": True}]
    assert "managedFields" not in kept["metadata"]


def test_a_termination_message_nested_without_end_breaks_nothing():
    """An author's own serving image may write it."""
    ended = {"exitCode": 1, "message": "[" * 4096}
    failure = find_failure({"containerStatuses": [{"name": "server", "state": {"terminated": ended}}]})
    assert failure is not None
    assert failure.reason == "ContainerFailed"


def test_an_autoscalers_measurements_are_no_news():
    metadata = {"namespace": "shop", "name": "telco"}
    conditions = [{"type": "ScalingActive", "status": "True"}]
    first, second = (
        trim({"metadata": metadata, "status": {"conditions": conditions, "currentMetrics": [cpu]}})
        for cpu in (10, 20)
    )
    assert first == second
    assert first["status"]["conditions"] == conditions


def test_kubectls_copy_of_the_spec_is_not_kept():
    notes = {LAST_APPLIED: "{}", "churnops.io/paused": "true"}
    trimmed = trim_model({"metadata": {"name": "telco", "annotations": notes}})
    assert trimmed["metadata"]["annotations"] == {"churnops.io/paused": "true"}
