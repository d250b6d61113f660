"""The children of a ChurnModel: made, owned, changed, pruned and repaired."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from churn_dev.kubectl import Kubectl, Object, condition, wait_until

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

Build = Callable[..., Object]
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}
KINDS = (
    "configmap", "deployment", "horizontalpodautoscaler", "networkpolicy", "poddisruptionbudget", "service",
)  # fmt: skip
LABEL = "churnops.io/model=telco"


def content(obj: Object) -> Object:
    """What people can change in an object."""
    return {key: value for key, value in obj.items() if key not in {"metadata", "status"}}


def children(kubectl: Kubectl) -> dict[str, Object]:
    """Children by kind, those that are there."""
    printed = kubectl.run("get", ",".join(KINDS), "--field-selector=metadata.name=telco", "--output=json")
    return {obj["kind"].lower(): obj for obj in json.loads(printed)["items"]}


def wait_for_all(kubectl: Kubectl, *absent: str) -> dict[str, Object]:
    wanted = set(KINDS) - set(absent)

    def complete() -> dict[str, Object] | None:
        found = children(kubectl)
        return found if found.keys() == wanted else None

    return wait_until(complete, f"children {sorted(wanted)}")


@pytest.fixture
def settled(namespace: Kubectl, model: Build) -> Kubectl:
    namespace.apply(model(autoscaling=AUTOSCALING, decision={"threshold": 0.4}))
    wait_for_all(namespace)
    return namespace


def test_every_child_is_controlled_by_the_churnmodel(settled: Kubectl) -> None:
    uid = (settled.get("churnmodel", "telco") or {})["metadata"]["uid"]
    revisions = settled.list("controllerrevision", LABEL)
    assert len(revisions) == 1
    for child in [*children(settled).values(), *revisions]:
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (uid, True, True)
        assert child["metadata"]["labels"]["churnops.io/model"] == "telco"


def test_the_operator_owns_what_it_sends_and_nothing_else(settled: Kubectl) -> None:
    printed = settled.run("get", "service", "telco", "--show-managed-fields", "--output=json")
    (entry,) = json.loads(printed)["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("churn-operator", "Apply")
    assert entry["fieldsV1"]["f:spec"].keys() == {"f:ports", "f:selector", "f:type"}
    assert entry["fieldsV1"]["f:metadata"].keys() == {"f:annotations", "f:labels", "f:ownerReferences"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_child_is_made_again(settled: Kubectl, kind: str) -> None:
    before = children(settled)[kind]
    settled.delete(kind, "telco", wait=False)

    def made_again() -> bool:
        seen = settled.get(kind, "telco")
        return seen is not None and seen["metadata"]["uid"] != before["metadata"]["uid"]

    wait_until(made_again, f"{kind} is back")
    after = children(settled)[kind]
    if kind == "service":
        for seen in (before, after):
            del seen["spec"]["clusterIP"], seen["spec"]["clusterIPs"]
    assert content(after) == content(before)


SERVER = "/spec/template/spec/containers/0"
MEMORY = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}},
}


def added(path: str, value: Any) -> list[Object]:
    return [{"op": "add", "path": path, "value": value}]


EDITS: dict[str, tuple[str, Any]] = {
    "a deployment's field": ("deployment", {"spec": {"progressDeadlineSeconds": 99}}),
    "a container's image": ("deployment", [{"op": "replace", "path": f"{SERVER}/image", "value": "evil"}]),
    "one more variable": ("deployment", added(f"{SERVER}/env", [{"name": "A", "value": "b"}])),
    "one more container": (
        "deployment",
        added("/spec/template/spec/containers/-", {"name": "more", "image": "x"}),
    ),
    "another command": ("deployment", added(f"{SERVER}/command", ["sh"])),
    "the host's network": ("deployment", {"spec": {"template": {"spec": {"hostNetwork": True}}}}),
    "the nodes it runs on": ("deployment", {"spec": {"template": {"spec": {"nodeSelector": {"disk": "x"}}}}}),
    "a mount taken away": ("deployment", [{"op": "remove", "path": f"{SERVER}/volumeMounts/0"}]),
    "one more port": ("service", added("/spec/ports/-", {"name": "ssh", "port": 22})),
    "a selector turned": ("service", {"spec": {"selector": {"churnops.io/model": "other"}}}),
    "a selector narrowed": ("service", {"spec": {"selector": {"more": "x"}}}),
    "a service's type": ("service", {"spec": {"type": "NodePort"}}),
    "a rule that lets out": ("networkpolicy", {"spec": {"egress": [{}]}}),
    "a rule that lets in": ("networkpolicy", added("/spec/ingress/-", {})),
    "a policy's direction": ("networkpolicy", {"spec": {"policyTypes": ["Ingress"]}}),
    "an autoscaler's bound": ("horizontalpodautoscaler", {"spec": {"maxReplicas": 50}}),
    "one more metric": ("horizontalpodautoscaler", added("/spec/metrics/-", MEMORY)),
    "a budget turned round": (
        "poddisruptionbudget",
        [{"op": "remove", "path": "/spec/maxUnavailable"}, *added("/spec/minAvailable", 2)],
    ),
    "the settings": ("configmap", {"data": {"serving.json": "{}"}}),
    "one more file": ("configmap", {"data": {"more": "x"}}),
    "a label": ("service", {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}),
    "the label that finds it": ("service", {"metadata": {"labels": {"churnops.io/model": "other"}}}),
    "no label that finds it": ("networkpolicy", {"metadata": {"labels": {"churnops.io/model": None}}}),
}


def test_a_service_that_was_led_elsewhere_leads_back(settled: Kubectl) -> None:
    elsewhere = {"spec": {"type": "ExternalName", "externalName": "elsewhere.example"}}
    settled.run("patch", "service", "telco", "--type=merge", f"--patch={json.dumps(elsewhere)}")

    def leads_back() -> bool:
        spec = children(settled)["service"]["spec"]
        return spec["type"] == "ClusterIP" and "externalName" not in spec

    wait_until(leads_back, "the Service is its own again")


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_child_is_repaired(settled: Kubectl, edit: str) -> None:
    kind, change = EDITS[edit]
    how = "json" if isinstance(change, list) else "merge"
    before = children(settled)[kind]
    settled.run("patch", kind, "telco", f"--type={how}", f"--patch={json.dumps(change)}")

    def repaired() -> bool:
        seen = children(settled)[kind]
        return content(seen) == content(before) and (
            seen["metadata"]["labels"] == before["metadata"]["labels"]
        )

    wait_until(repaired, f"{edit} is put back")


def test_what_is_not_ours_on_a_child_is_left_alone(settled: Kubectl) -> None:
    """Notes of other tools, and `kubectl rollout restart`, stay."""
    settled.run("annotate", "deployment", "telco", "other.example/note=kept")
    settled.run("rollout", "restart", "deployment/telco")
    settled.patch("churnmodel", "telco", {"spec": {"decision": {"threshold": 0.5}}})
    wait_until(lambda: "0.5" in str(children(settled)["configmap"]["data"]), "the new threshold")
    deployment = children(settled)["deployment"]
    assert deployment["metadata"]["annotations"]["other.example/note"] == "kept"
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert "kubectl.kubernetes.io/restartedAt" in annotations


def test_what_the_spec_no_longer_asks_for_is_pruned(settled: Kubectl) -> None:
    settled.patch("churnmodel", "telco", {"spec": {"autoscaling": None, "replicas": 1}})
    wait_for_all(settled, "horizontalpodautoscaler", "poddisruptionbudget")
    wait_until(lambda: children(settled)["deployment"]["spec"]["replicas"] == 1, "one replica")


def test_a_field_that_is_no_longer_asked_for_goes(namespace: Kubectl, model: Build) -> None:
    namespace.apply(
        model(serving={"nodeSelector": {"disk": "ssd"}, "priorityClassName": "system-node-critical"})
    )
    first = wait_for_all(namespace, "horizontalpodautoscaler")["deployment"]
    assert first["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "ssd"}
    namespace.apply(model())

    def gone() -> bool:
        spec = children(namespace)["deployment"]["spec"]["template"]["spec"]
        return "nodeSelector" not in spec and "priorityClassName" not in spec

    wait_until(gone, "node selector and priority are gone")


def test_there_and_back_gives_the_same_objects(namespace: Kubectl, model: Build, kubelet: Any) -> None:
    here = model(autoscaling=AUTOSCALING, decision={"threshold": 0.4}, serving={"podLabels": {"team": "a"}})
    there = model(
        model={"uri": "s3://bucket/telco", "digest": "sha256:" + "1" * 64, "credentialsSecret": "store"},
        replicas=1,
        serving={
            "nodeSelector": {"disk": "ssd"},
            "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}},
        },
    )
    namespace.apply(here)
    kubelet.run_until_ready()
    before = wait_for_all(namespace)
    namespace.apply(there)
    kubelet.run_until_ready()
    wait_for_all(namespace, "horizontalpodautoscaler", "poddisruptionbudget")
    namespace.apply(here)
    kubelet.run_until_ready()

    def same() -> bool:
        after = children(namespace)
        return {kind: _comparable(obj) for kind, obj in after.items()} == {
            kind: _comparable(obj) for kind, obj in before.items()
        }

    wait_until(same, "the objects of the first spec")


def _comparable(obj: Object) -> Object:
    metadata = obj["metadata"]
    annotations = {
        k: v for k, v in metadata["annotations"].items() if k != "deployment.kubernetes.io/revision"
    }
    return content(obj) | {"labels": metadata["labels"], "annotations": annotations}


def test_a_settled_child_with_odd_quantities_is_written_once(
    namespace: Kubectl, model: Build, operator: Any
) -> None:
    """The API server rewrites 1000m as 1 and 1024Mi as 1Gi."""
    audit = operator.audit()
    namespace.apply(
        model(serving={"resources": {"requests": {"cpu": "1000m"}, "limits": {"cpu": 2, "memory": "1024Mi"}}})
    )
    wait_for_all(namespace, "horizontalpodautoscaler")
    writes = [w for w in operator.settle(audit) if w.namespace == namespace.namespace]
    assert [w.name for w in writes if w.resource == "deployments"] == ["telco"]


def test_settings_lost_in_a_rollout_come_back_with_the_decision_that_old_replicas_go_by(
    namespace: Kubectl, model: Build, kubelet: Any
) -> None:
    namespace.apply(model(decision={"threshold": 0.4}))
    old = kubelet.run_until_ready()["status"]["revision"]
    namespace.apply(model(decision={"threshold": 0.6}))
    kubelet.run_until_ready()
    namespace.apply(model(decision={"threshold": 0.9}, serving={"podLabels": {"team": "a"}}))
    wait_until(lambda: len(namespace.list("controllerrevision", LABEL)) == 2, "the rollout")
    wait_until(lambda: len(decisions(namespace)) == 2, "settings of both")
    during = decisions(namespace)
    assert during[old] == {"threshold": 0.6}
    namespace.delete("configmap", "telco")
    wait_until(lambda: decisions(namespace) == during, "the same settings")


def decisions(kubectl: Kubectl) -> Object:
    """What serving.json says, by revision; nothing where there is none."""
    found = kubectl.get("configmap", "telco")
    revisions = json.loads(found["data"]["serving.json"])["revisions"] if found else {}
    return {revision: entry["decision"] for revision, entry in revisions.items()}


def test_deleting_the_churnmodel_leaves_nothing(settled: Kubectl) -> None:
    settled.delete("churnmodel", "telco")
    wait_until(lambda: not children(settled), "no child is left")
    wait_until(lambda: not settled.list("controllerrevision", LABEL), "no revision is left")
    wait_until(lambda: not settled.list("pods", LABEL), "no pod is left")


def test_deleting_and_making_at_once_ends_with_children_of_the_new_one(
    settled: Kubectl, model: Build
) -> None:
    settled.delete("churnmodel", "telco", wait=False)
    settled.apply(model())
    uid = (settled.get("churnmodel", "telco") or {})["metadata"]["uid"]

    def reowned() -> bool:
        found = children(settled)
        owners = {child["metadata"]["ownerReferences"][0]["uid"] for child in found.values()}
        return owners == {uid} and found.keys() == set(KINDS) - {"horizontalpodautoscaler"}

    wait_until(reowned, "children of the new ChurnModel", seconds=120)


def test_foreground_deletion_makes_nothing_again(settled: Kubectl) -> None:
    settled.run("delete", "churnmodel", "telco", "--cascade=foreground", "--timeout=120s")
    assert children(settled) == {}


def test_a_record_that_lost_its_label_is_found_again_though_it_may_not_change(settled: Kubectl) -> None:
    """It was accepted with another threshold than the one that is asked for now."""
    (record,) = settled.list("controllerrevision", LABEL)
    settled.run(
        "patch", "churnmodel", "telco", "--type=merge", '--patch={"spec":{"decision":{"threshold":0.8}}}'
    )
    wait_until(lambda: "0.8" in json.dumps(children(settled)["configmap"]["data"]), "the new threshold")
    settled.run("label", "controllerrevision", record["metadata"]["name"], "churnops.io/model-")
    (found,) = wait_until(lambda: settled.list("controllerrevision", LABEL), "the record is found again")
    assert found["data"] == record["data"]
    assert found["metadata"]["uid"] == record["metadata"]["uid"]
    assert condition(settled.get("churnmodel", "telco"), "Stalled") == {}


def test_ports_that_somebody_put_in_the_place_of_ours_give_way(settled: Kubectl) -> None:
    """A Service may not be without any: theirs go once ours are back."""
    ours = children(settled)["service"]["spec"]["ports"]
    settled.run("patch", "service", "telco", "--type=merge", '--patch={"spec":{"ports":[{"port":22}]}}')
    wait_until(lambda: children(settled)["service"]["spec"]["ports"] == ours, "our ports are back")
