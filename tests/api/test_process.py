"""The operator as a process: what it asks of the API server, and how it starts and ends."""

import asyncio
import dataclasses
import json
import re
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from churn_dev import fleet
from churn_dev.audit import whole_lines
from churn_dev.generate import ROOT
from churn_dev.kubectl import Kubectl, Object, wait_until
from churn_operator.kinds import CHURN_MODEL
from churn_operator.reconcile import SPEC_SECONDS
from churn_operator.runtime.client import MERGE_PATCH, Client

from .conftest import wait_until_established
from .costs import STATUS, of, of_a_change, of_a_rollout

pytestmark = pytest.mark.api

Build = Callable[..., Object]
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}
CHILDREN = 7


def wait_until_alone(kubectl: Kubectl) -> None:
    """Waits until earlier tests' namespaces are gone: in one that is being deleted nobody makes anything."""
    wait_until(lambda: "Terminating" not in kubectl.run("get", "namespaces"), "they are gone", seconds=120)


def test_a_churnmodel_costs_its_children_and_two_status_writes(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    audit, creation = operator.audit(), partial(namespace.apply, model(autoscaling=AUTOSCALING))
    writes = of_a_rollout(namespace, kubelet, operator, creation)
    assert writes.total() <= CHILDREN + 2, writes
    assert writes[STATUS] == 2
    reads = [r for r in audit.requests() if r.namespace == namespace.namespace and not r.is_write]
    assert reads == []


def test_a_change_without_rollout_costs_its_child_and_a_status_write(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    writes = of_a_change(
        namespace, kubelet, operator, model(), lambda: namespace.run("scale", "churn/telco", "--replicas=3")
    )
    assert writes == {"patch deployments 200": 1, STATUS: 1}


def test_a_rollout_costs_what_changes_and_two_status_writes(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    """Deployment, the revision's record, and its settings: there at the start, the old ones gone later."""
    writes = of_a_change(
        namespace,
        kubelet,
        operator,
        model(replicas=1),
        lambda: namespace.apply(model(replicas=1, serving={"podLabels": {"team": "a"}})),
    )
    assert writes == {
        "patch controllerrevisions 201": 1,
        "patch configmaps 200": 2,
        "patch deployments 200": 1,
        STATUS: 2,
    }


def test_the_first_rollout_after_an_autoscaled_creation_costs_no_more(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    """The replicas that it was created with are still the operator's, who must not reset them."""
    other = {"uri": "oci://registry.example/telco:2", "digest": "sha256:" + "1" * 64}
    writes = of_a_change(
        namespace,
        kubelet,
        operator,
        model(autoscaling=AUTOSCALING),
        lambda: namespace.apply(model(autoscaling=AUTOSCALING, model=other)),
    )
    assert writes == {
        "patch controllerrevisions 201": 1,
        "patch configmaps 200": 2,
        "patch deployments 200": 1,
        STATUS: 2,
    }


def test_a_threshold_costs_its_child_a_status_write_and_a_note_on_each_pod(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    writes = of_a_change(
        namespace,
        kubelet,
        operator,
        model(decision={"threshold": 0.4}),
        lambda: namespace.apply(model(decision={"threshold": 0.6})),
    )
    assert writes == {
        "patch configmaps 200": 1,
        "patch pods 200": 2,
        STATUS: 1,
    }


def test_fifty_changes_in_a_row_roll_out_few_times_and_end_at_the_last(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    namespace.apply(model(replicas=1))
    kubelet.run_until_ready()
    operator.settle(operator.audit())
    audit, began = operator.audit(), time.monotonic()

    async def edit(client: Client) -> None:
        for number in range(50):
            change = {"spec": {"serving": {"podLabels": {"edit": str(number)}}}}
            place = (CHURN_MODEL, namespace.namespace, "telco")
            await client.patch(*place, change, "author", content_type=MERGE_PATCH)
            await asyncio.sleep(0.1)

    fleet.measure(namespace.kubeconfig, edit)
    seconds = time.monotonic() - began
    kubelet.run_until_ready()
    rollouts = of(operator.settle(audit), namespace)["patch deployments 200"]
    template = (namespace.get("deployment", "telco") or {})["spec"]["template"]
    assert template["metadata"]["labels"]["edit"] == "49"
    assert 1 <= rollouts <= seconds / SPEC_SECONDS + 2


def test_a_note_on_the_churnmodel_costs_nothing(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    namespace.apply(model())
    kubelet.run_until_ready()
    operator.settle(operator.audit())
    audit = operator.audit()
    namespace.run("annotate", "churnmodel", "telco", "a.example/note=x")
    namespace.run("label", "churnmodel", "telco", "team=a")
    assert of(operator.settle(audit), namespace) == {}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_writes_nothing(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any, signum: signal.Signals
) -> None:
    """Whatever the spec holds: quantities in other words, an s3 model, tolerations."""
    namespace.apply(
        model(
            autoscaling=AUTOSCALING,
            decision={"threshold": 0.4},
            model={"uri": "s3://bucket/telco", "digest": "sha256:" + "3" * 64, "credentialsSecret": "store"},
            serving={
                "resources": {"requests": {"cpu": "1000m"}, "limits": {"cpu": 2, "memory": "1024Mi"}},
                "tolerations": [{"key": "models", "operator": "Exists", "effect": "NoSchedule"}],
                "nodeSelector": {"disk": "ssd"},
                "imagePullSecrets": [{"name": "registry"}],
                "podLabels": {"team": "a"},
            },
        )
    )
    kubelet.run_until_ready()
    namespace.patch("churnmodel", "telco", {"spec": {"decision": {"threshold": 0.5}}})
    wait_until_alone(namespace)
    operator.settle(operator.audit(), quiet_seconds=6)
    code = operator.stop(signum)
    assert code == (0 if signum is signal.SIGTERM else -signum)
    audit = operator.audit()
    operator.start()
    assert operator.settle(audit, quiet_seconds=3) == []


def test_what_happened_while_it_was_away_is_made_good(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    namespace.apply(model())
    kubelet.run_until_ready()
    other = model()
    other["metadata"]["name"] = "other"
    operator.stop()
    namespace.delete("service", "telco")
    namespace.run("scale", "churn/telco", "--replicas=3")
    namespace.apply(other)
    operator.start()
    wait_until(lambda: namespace.get("service", "telco"), "the Service is back")
    wait_until(lambda: namespace.get("deployment", "other"), "the new one's Deployment")
    wait_until(
        lambda: (namespace.get("deployment", "telco") or {})["spec"]["replicas"] == 3, "three replicas"
    )


def test_it_answers_its_probes(operator: Any) -> None:
    wait_until(lambda: (operator.get("/livez"), operator.get("/readyz")) == (200, 200), "it is well")


def test_it_tells_how_fresh_each_watch_is_and_how_each_churnmodel_fares(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any
) -> None:
    namespace.apply(model())
    kubelet.run_until_ready()
    mine = f'{{model="telco",model_namespace="{namespace.namespace}",state="Ready"}} 1.0'
    state = f"churn_operator_churnmodel_state{mine}"
    wait_until(lambda: state in operator.metrics().replace(", ", ","), "it knows what it wrote")
    said = operator.metrics()
    kinds = re.findall(
        r'^churn_operator_watch_last_contact_timestamp_seconds{kind="(\w+)"}', said, re.MULTILINE
    )
    assert {"ChurnModel", "Deployment", "Pod", "Service"} <= set(kinds)
    assert "churn_operator_caches_synced 1.0" in said


def test_it_tells_only_what_a_scrape_asks_for_by_name(operator: Any) -> None:
    said = operator.metrics("workqueue_adds_total")
    assert re.findall(r"^# HELP (\w+)", said, re.MULTILINE) == ["workqueue_adds_total"]


def test_everything_it_asks_bears_its_name(operator: Any, cluster: Any) -> None:
    """Requests of kopf included: who counts by user agent sees all."""
    agents = {
        json.loads(line)["userAgent"]
        for line in whole_lines(cluster.audit_log)
        if b'"system:serviceaccount:churn-operator:churn-operator"' in line
    }
    agents = {agent for agent in agents if not agent.startswith("kubectl/")}  # the tests, in its name
    assert agents
    assert all(agent.startswith("churn-operator/") for agent in agents), agents


def test_nothing_it_asks_is_forbidden(namespace: Kubectl, operator: Any) -> None:
    """With the chart's rights alone, whatever the tests before made it do."""
    wait_until_alone(namespace)
    operator.stop()
    audit = operator.audit()
    operator.start()
    operator.settle(audit)
    assert {str(request) for request in audit.requests() if request.code in {401, 403}} == set()


def test_one_namespace_with_a_role_is_enough(
    namespace: Kubectl, model: Build, kubelet: Any, operator: Any, as_chart: Any
) -> None:
    operator.stop()
    rights = as_chart(namespace.namespace, "namespaced=true")
    alone = dataclasses.replace(operator, kubeconfig=rights, namespace=namespace.namespace)
    audit = operator.audit()
    alone.start()
    try:
        namespace.apply(model(autoscaling=AUTOSCALING))
        kubelet.run_until_ready()
        namespace.delete("service", "telco")
        wait_until(lambda: namespace.get("service", "telco"), "the Service is back")
    finally:
        assert alone.stop() == 0
        operator.start()
    assert {str(request) for request in audit.requests() if request.code in {401, 403}} == set()
    assert {request.namespace for request in audit.writes() if request.name == "telco"} == {
        namespace.namespace
    }


def test_the_tightest_settings_that_it_takes_the_api_server_takes_too(
    namespace: Kubectl, model: Build, operator: Any
) -> None:
    """A pod may not sleep for longer than its grace period, nor a rollout wait as long as its deadline."""
    tight = {
        "GRACE_PERIOD_SECONDS": "67", "PRE_STOP_SECONDS": "60",
        "PROGRESS_DEADLINE_SECONDS": "10", "MIN_READY_SECONDS": "9",
    }  # fmt: skip
    operator.stop()
    alone = dataclasses.replace(operator, namespace=namespace.namespace, settings=tight)
    alone.start()
    try:
        namespace.apply(model())
        made = wait_until(lambda: namespace.get("deployment", "telco"), "the Deployment")
    finally:
        assert alone.stop() == 0
        operator.start()
    spec = made["spec"]
    assert (spec["minReadySeconds"], spec["progressDeadlineSeconds"]) == (9, 10)
    pod = spec["template"]["spec"]
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert (sleep, pod["terminationGracePeriodSeconds"]) == (60, 67)


def test_kopf_is_started_again_when_it_ends(
    namespace: Kubectl, model: Build, operator: Any, owner_uid: Callable[[], str | None]
) -> None:
    """Without the CRD kopf's watch ends for good; the process goes on and serves what comes later."""
    namespace.apply(model())
    wait_until(owner_uid, "the Deployment")
    process = operator.process
    namespace.run("delete", "crd", "churnmodels.churnops.io")
    wait_until(lambda: "kopf ended" in operator.log.read_text(), "kopf's end", seconds=120)
    namespace.run("apply", "--server-side", f"--filename={ROOT / 'crds'}")
    wait_until_established(namespace)
    namespace.apply(model())
    uid = (namespace.get("churnmodel", "telco") or {})["metadata"]["uid"]
    wait_until(lambda: owner_uid() == uid, "a Deployment of the new ChurnModel", seconds=120)
    assert process.poll() is None
    wait_until(lambda: (operator.get("/livez"), operator.get("/readyz")) == (200, 200), "it is well")


@pytest.fixture
def owner_uid(namespace: Kubectl) -> Callable[[], str | None]:
    """The uid of the ChurnModel that owns the Deployment, if there is one."""

    def look() -> str | None:
        found = namespace.get("deployment", "telco")
        return str(found["metadata"]["ownerReferences"][0]["uid"]) if found else None

    return look
