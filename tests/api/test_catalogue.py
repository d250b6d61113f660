"""What else happens to a ChurnModel and its operator in the life of a cluster."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from churn_dev.fault_proxy import Call, Exchange, Fault, Reply, pass_on
from churn_operator.api.conditions import Reason
from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL, CONFIG_MAP, DEPLOYMENT, SERVICE, Kind
from churn_operator.names import PAUSED_ANNOTATION
from churn_operator.reconcile import SPEC_SECONDS

from .scenario import OTHER
from .trial import ADMIN, NAMESPACE, SPEC, Json, Lane, Trial, said

pytestmark = [pytest.mark.api, pytest.mark.asyncio(loop_scope="module")]

POLICY = Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
BINDING = Kind(POLICY.api_version, f"{POLICY.kind}Binding", "validatingadmissionpolicybindings")


def refusing(resource: str, status: int, message: str) -> Any:
    """A choice that refuses writes of one resource."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": status}
    reply = Reply(status, json.dumps(body | {"message": message, "reason": "Forbidden"}).encode())

    async def refuse(exchange: Exchange) -> Any:
        return await exchange.tell(reply)

    def choose(call: Call) -> Fault:
        return refuse if call.is_write and call.place[1] == resource else pass_on

    return choose


def altering(resource: str, change: Callable[[Any], None]) -> Callable[[Call], Fault]:
    """A choice that lets `change` edit the body of writes of one resource, as an admission webhook does."""

    async def alter(exchange: Exchange) -> web.StreamResponse:
        body = exchange.call.json()
        change(body)
        return await exchange.tell(await exchange.forward(json.dumps(body).encode()))

    def choose(call: Call) -> Fault:
        return alter if call.is_write and call.place[1] == resource else pass_on

    return choose


async def is_said(trial: Trial, reason: str, words: str) -> bool:
    ready = said(await trial.get(CHURN_MODEL), "Ready")
    return ready.get("reason") == reason and words in ready["message"]


async def uids(trial: Trial) -> set[str]:
    found = await asyncio.gather(*(trial.all(kind) for kind in CHILD_KINDS))
    return {
        obj["metadata"]["uid"]
        for objects in found
        for obj in objects
        if obj["metadata"]["name"] != "kube-root-ca.crt"
    }


async def test_a_right_that_is_missing_is_named_and_its_return_needs_no_restart(lane: Lane) -> None:
    words = 'services "telco" is forbidden: cannot patch resource "services" in API group ""'
    async with Trial.open(lane) as trial:
        trial.proxy.choose = refusing("services", 403, words)
        await trial.apply(SPEC)
        await trial.until(lambda: is_said(trial, Reason.APPLY_REFUSED, words), "the missing right is named")
        trial.proxy.choose = lambda _: pass_on
        await trial.until_settled()


async def test_a_refused_token_stops_nothing_for_good(lane: Lane) -> None:
    words = {"kind": "Status", "status": "Failure", "code": 401, "reason": "Unauthorized"}

    async def refuse(exchange: Exchange) -> Any:
        return await exchange.tell(Reply(401, json.dumps(words).encode()))

    async with Trial.open(lane) as trial:
        await trial.apply(SPEC)
        await trial.until_settled()
        trial.proxy.choose = lambda _: refuse
        trial.proxy.cut_all()
        await trial.edit(decision={"threshold": 0.7})
        await trial.delete(SERVICE)
        await asyncio.sleep(3)  # long enough for each part to be refused more than once
        trial.proxy.choose = lambda _: pass_on
        await trial.until_settled()
        await trial.until(lambda: trial.get(SERVICE), "the Service is back")


async def test_a_policy_that_denies_is_quoted_and_obeyed_no_longer_than_it_stands(lane: Lane) -> None:
    async with Trial.open(lane) as trial:
        name = f"{trial.namespace}-denies"
        rules = [
            {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"], "operations": ["CREATE"]}
        ]
        spec: Json = {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "false", "message": "no Service on a Saturday"}],
        }
        only = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": trial.namespace}}}
        bound: Json = {"policyName": name, "validationActions": ["Deny"], "matchResources": only}
        for kind, body in ((POLICY, spec), (BINDING, bound)):
            obj = {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {"name": name},
                "spec": body,
            }
            await lane.admin.apply(kind, obj, ADMIN)
        try:
            await trial.until(lambda: _is_denied(trial), "the policy works")
            await trial.apply(SPEC)
            await trial.until(
                lambda: is_said(trial, Reason.INVALID_SPEC, "no Service on a Saturday"),
                "the denial is quoted",
            )
        finally:
            for kind in (BINDING, POLICY):
                await lane.admin._json("DELETE", kind.path(None, name))
        await trial.until_settled()


async def _is_denied(trial: Trial) -> bool:
    """Tries it with a Service that nobody keeps."""
    path = SERVICE.path(trial.namespace)
    service = SERVICE.named(trial.namespace, "probe") | {"spec": {"ports": [{"port": 1}]}}
    try:
        await trial.lane.admin._json("POST", path, query={"dryRun": "All"}, body=service)
    except Exception as error:  # noqa: BLE001  # whichever it is, its words tell
        return "Saturday" in str(error)
    return False


async def test_what_an_admission_makes_of_a_child_is_not_fought_over(lane: Lane) -> None:
    """It shortens the grace of every pod; asking for ours again and again would change nothing."""

    def shorten(body: Any) -> None:
        if "template" in body["spec"]:
            body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 7

    async with Trial.open(lane) as trial:
        trial.proxy.choose = altering("deployments", shorten)
        await trial.apply(SPEC)
        await trial.until_settled()
        await trial.until_quiet(3)
        assert sum(call.place[1] == "deployments" for call in trial.writes) == 1
        await trial.edit(model=OTHER)
        await trial.until_settled()


async def test_what_an_admission_puts_back_is_removed_once_and_then_left(lane: Lane) -> None:
    def choose_nodes(body: Any) -> None:
        if isinstance(body, list):
            body.append({"op": "add", "path": "/spec/template/spec/nodeSelector", "value": {"pool": "a"}})
        else:
            body["spec"]["template"]["spec"]["nodeSelector"] = {"pool": "a"}

    async with Trial.open(lane) as trial:
        trial.proxy.choose = altering("deployments", choose_nodes)
        await trial.apply(SPEC)
        await trial.until_settled()
        await trial.until_quiet(3)
        assert "json-patch" in str([call.content_type for call in trial.writes])
        await trial.edit(model=OTHER)
        await trial.until_settled()
        await trial.until_quiet(3)


async def test_a_namespace_that_is_deleted_ends(lane: Lane) -> None:
    async with Trial.open(lane) as trial:
        await trial.apply(SPEC)
        await trial.until_settled()
        await lane.admin._json("DELETE", NAMESPACE.path(None, trial.namespace))
        await trial.until(lambda: _is_over(trial), "the namespace is gone")
        assert trial.life
        assert trial.life.is_alive()


async def _is_over(trial: Trial) -> bool:
    try:
        await trial.lane.admin._json("GET", NAMESPACE.path(None, trial.namespace))
    except Exception as error:  # noqa: BLE001  # whichever it is, its words tell
        return "not found" in str(error)
    return False


async def test_events_that_are_refused_hold_nothing_up(lane: Lane) -> None:
    async with Trial.open(lane) as trial:
        trial.proxy.choose = refusing("events", 403, "events are not for you")
        await trial.apply(SPEC)
        await trial.until_settled()
        await trial.edit(decision={"threshold": 0.7})
        await trial.until_settled()


async def test_a_status_that_somebody_edits_is_put_right_and_no_child_made_again(lane: Lane) -> None:
    async with Trial.open(lane) as trial:
        await trial.apply(SPEC)
        settled = await trial.until_settled()
        before = await uids(trial)
        path = CHURN_MODEL.path(trial.namespace, "telco", "status")
        for status in ({"revision": "abc", "replicas": 99}, {"conditions": None, "revision": None}):
            await lane.admin._json(
                "PATCH", path, body={"status": status}, content_type="application/merge-patch+json"
            )

            async def is_right() -> bool:
                seen = (await trial.get(CHURN_MODEL) or {})["status"]
                found = {c["type"]: c["status"] for c in seen.get("conditions", ())}
                wanted = {c["type"]: c["status"] for c in settled["status"]["conditions"]}
                same = all(seen.get(key) == settled["status"].get(key) for key in ("revision", "replicas"))
                return same and found == wanted

            await trial.until(is_right, "the status is right again")
        assert await uids(trial) == before


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
async def test_one_that_is_deleted_while_it_is_made_leaves_nothing(lane: Lane, delay: float) -> None:
    async with Trial.open(lane) as trial:
        await trial.apply(SPEC, "first")  # the operator is at work from here on
        await trial.until_settled("first")
        await trial.delete(CHURN_MODEL, "first")
        await trial.apply(SPEC)
        await asyncio.sleep(delay)
        await trial.delete(CHURN_MODEL)
        await trial.until_quiet()
        await trial.until(lambda: _none(trial), "nothing is left")


async def _none(trial: Trial) -> bool:
    return not await uids(trial)


async def test_one_that_is_deleted_in_a_rollout_leaves_nothing(lane: Lane) -> None:
    async with Trial.open(lane) as trial:
        await trial.apply(SPEC)
        await trial.until_settled()
        await trial.edit(model=OTHER)
        await trial.delete(CHURN_MODEL)
        await trial.until_quiet()
        await trial.until(lambda: _none(trial), "nothing is left")


async def test_one_that_is_deleted_while_no_operator_runs_leaves_nothing(lane: Lane) -> None:
    """There is no finalizer that only the operator could take away."""
    async with Trial.open(lane) as trial:
        await trial.apply(SPEC)
        await trial.until_settled()
        trial.kill()
        await trial.delete(CHURN_MODEL)
        await trial.until(lambda: _none(trial), "nothing is left")


async def test_orphans_stay_and_are_not_taken_for_ones_own(lane: Lane) -> None:
    async with Trial.open(lane) as trial:
        await trial.apply(SPEC)
        await trial.until_settled()
        before = await uids(trial)
        path = CHURN_MODEL.path(trial.namespace, "telco")
        await lane.admin._json("DELETE", path, body={"propagationPolicy": "Orphan"})
        await trial.until(lambda: _is_absent(trial), "the ChurnModel is gone")
        await trial.until_quiet()
        assert await uids(trial) == before
        await trial.apply(SPEC)
        await trial.until(
            lambda: is_said(trial, Reason.NAME_CONFLICT, "belongs to someone else"), "the conflict is told"
        )
        assert await uids(trial) == before


async def _is_absent(trial: Trial) -> bool:
    return await trial.get(CHURN_MODEL) is None


async def test_a_field_of_ours_that_another_manager_takes_is_taken_back(lane: Lane) -> None:
    """The other keeps what we do not name."""
    async with Trial.open(lane) as trial:
        await trial.apply(SPEC)
        await trial.until_settled()
        theirs = DEPLOYMENT.named(trial.namespace, "telco") | {
            "metadata": {"name": "telco", "namespace": trial.namespace, "labels": {"team": "growth"}},
            "spec": {"replicas": 7, "minReadySeconds": 3},
        }
        await lane.admin.apply(DEPLOYMENT, theirs, "another-tool")

        async def is_ours() -> bool:
            found = await trial.get(DEPLOYMENT) or {}
            kept = found["spec"]["minReadySeconds"] == 3 and found["metadata"]["labels"]["team"] == "growth"
            return bool(kept and found["spec"]["replicas"] == SPEC["replicas"])

        await trial.until(is_ours, "our field is ours and theirs is theirs")


async def test_of_edits_while_paused_only_the_last_is_done(lane: Lane) -> None:
    async with Trial.open(lane) as trial:
        await trial.apply(SPEC)
        await trial.until_settled()
        paused = {"metadata": {"annotations": {PAUSED_ANNOTATION: "true"}}}
        await trial.patch(CHURN_MODEL, paused)
        await trial.until(lambda: _is_paused(trial), "it stands still")
        trial.writes.clear()
        for threshold in (0.1, 0.2, 0.3, 0.5, 0.8):
            await trial.edit(decision={"threshold": threshold})
        await trial.until_quiet()
        assert [call.place[1] for call in trial.writes if call.place[1] == "configmaps"] == []
        await trial.patch(CHURN_MODEL, {"metadata": {"annotations": {PAUSED_ANNOTATION: None}}})
        await trial.until_settled()
        assert [call.place[1] for call in trial.writes if call.place[1] == "configmaps"] == ["configmaps"]
        assert "0.8" in json.dumps((await trial.get(CONFIG_MAP) or {})["data"])


async def _is_paused(trial: Trial) -> bool:
    return said(await trial.get(CHURN_MODEL), "Paused").get("status") == "True"


async def test_of_fifty_edits_at_once_the_last_counts_and_few_roll_out(lane: Lane) -> None:
    async with Trial.open(lane) as trial:
        await trial.apply(SPEC)
        await trial.until_settled()
        trial.writes.clear()
        began = time.monotonic()
        for number in range(50):
            await trial.edit(model=OTHER | {"uri": f"oci://registry.example/telco:{number}"})
            await asyncio.sleep(0.08)
        await trial.until_settled()
        lasted = time.monotonic() - began
        found = await trial.get(DEPLOYMENT)
        assert "telco:49" in json.dumps(found)
        rollouts = sum(call.place[1] == "deployments" for call in trial.writes)
        assert rollouts <= 2 + lasted / SPEC_SECONDS
