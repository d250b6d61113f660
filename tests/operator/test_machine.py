"""Whatever authors, others, faults and time do, in any order: what is there is what is asked for."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_operator import audit as audit_module
from churn_operator import reconcile as reconcile_module
from churn_operator.api.conditions import Reason
from churn_operator.apply import Writer
from churn_operator.audit import Audit
from churn_operator.caches import Caches, Key
from churn_operator.compare import covers, foreign_paths, stamped
from churn_operator.decide import Halt, decide
from churn_operator.desired import build_desired
from churn_operator.errors import ApiError
from churn_operator.events import EventPoster
from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL, DEPLOYMENT, POD, SERVICE
from churn_operator.names import controller_uid
from churn_operator.reconcile import Reconciler
from churn_operator.settings import Settings

from ..chance import THOROUGH, generated  # noqa: TID252  # lanes share how they draw
from .cluster_model import FAULTS, Cluster, KilledError, merged

NAMESPACE = "shop"
NAMES = st.sampled_from(["a", "b"])
PIN = "sha256:" + "a" * 64
MODELS = st.sampled_from([{"uri": f"oci://registry.example/telco:{n}", "digest": PIN} for n in range(3)])
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "model": MODELS,
        "replicas": st.integers(0, 4),
        "decision": st.sampled_from([{"threshold": 0.3}, {"threshold": 0.6}, {"threshold": 7}, None]),
        "autoscaling": st.sampled_from([AUTOSCALING, AUTOSCALING | {"minReplicas": 1}, None]),
        "suspend": st.booleans(),
        "serving": st.sampled_from([{"podLabels": {"team": "x"}}, {"nodeSelector": {"disk": "ssd"}}, None]),
    },
)
EDITS: tuple[Any, ...] = (
    {"metadata": {"labels": {"churnops.io/model": "other"}}},
    {"metadata": {"labels": {"churnops.io/model": None}}},
    {"metadata": {"annotations": {"churnops.io/desired": "x"}}},
    {"metadata": {"labels": {"team": "kept"}}},
    {"spec": {"replicas": 9}},
    {"spec": {"maxReplicas": 90}},
    {"spec": {"selector": {"more": "x"}}},
    {"spec": {"type": "NodePort"}},
    {"spec": {"ports": [{"name": "ssh", "port": 22, "protocol": "TCP"}]}},
    {"data": {"serving.json": "{}", "more": "x"}},
)
ROUNDS = 200


class Machine:
    """The operator's own passes over a cluster in small; each rule is something that happens."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.clock = SimpleNamespace(monotonic=lambda: self.now)
        self.now = 1000.0
        reconcile_module.time = self.clock  # type: ignore[assignment]
        self.restart()

    # The author.

    def apply(self, name: str, changes: Any) -> None:
        spec = {"model": {"uri": "oci://registry.example/telco:0", "digest": PIN}, "replicas": 2}
        self.cluster.update(
            (CHURN_MODEL, NAMESPACE, name),
            lambda seen: merged({"spec": spec} | seen, {"spec": changes}),
            "author",
        )

    def delete(self, name: str) -> None:
        if any(model["metadata"]["name"] == name for model in self.cluster.present(CHURN_MODEL)):
            self.cluster.remove((CHURN_MODEL, NAMESPACE, name))

    # Others.

    def delete_child(self, kind: Any, index: int) -> None:
        for obj in self.cluster.present(kind)[index : index + 1]:
            self.cluster.remove((kind, NAMESPACE, obj["metadata"]["name"]))

    def edit_child(self, kind: Any, index: int, edit: Any) -> None:
        for obj in self.cluster.present(kind)[index : index + 1]:
            known = {key: value for key, value in edit.items() if key in obj or key == "metadata"}
            place = (kind, NAMESPACE, obj["metadata"]["name"])
            self.cluster.update(place, lambda seen, known=known: merged(seen, known), "somebody")

    def open_port(self, name: str, port: int) -> None:
        for service in self.cluster.present(SERVICE):
            if service["metadata"]["name"] == name:
                more = {"name": f"p{port}", "port": port, "protocol": "TCP"}
                self.cluster.update(
                    (SERVICE, NAMESPACE, name),
                    lambda seen, more=more: merged(seen, {"spec": {"ports": [*seen["spec"]["ports"], more]}}),
                    "somebody",
                )

    def autoscale(self, name: str, replicas: int) -> None:
        self.cluster.scale(NAMESPACE, name, replicas)

    def collect(self) -> None:
        self.cluster.collect()

    def run_pods(self) -> None:
        self.cluster.run()

    # Faults, and time.

    def fail(self, fault: str, done: bool) -> None:
        self.cluster.fault = (fault, done)

    def restart(self) -> None:
        self.cluster.events.clear()
        self.dirty: set[Key] = set()
        client: Any = self.cluster
        self.caches = Caches(client, None, self._told)
        self.audit = Audit(client, self.caches.models, None)
        events = EventPoster(client, "test")
        self.reconciler = Reconciler(client, self.caches, Writer(client, self.caches), events, Settings())
        asyncio.run(self._list())

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.cluster.seconds += seconds

    def deliver(self, kind: Any) -> None:
        """The watch of one kind brings what it has; the others lag."""
        due = [event for seen, event in self.cluster.events if seen is kind]
        self.cluster.events = [each for each in self.cluster.events if each[0] is not kind]
        for event in due:
            if kind is not CHURN_MODEL:
                self.caches[kind]._take(event)
            elif event.type == "DELETED":
                self.caches.models.drop(
                    (NAMESPACE, event.object["metadata"]["name"]), event.object["metadata"]["uid"]
                )
            else:
                self.caches.models.put(event.object)

    def lose_the_watches(self) -> None:
        """What they had is lost; lists make it good."""
        self.cluster.events.clear()
        asyncio.run(self._list())

    def _told(self, key: Key, **_: bool) -> None:
        self.dirty.add(key)

    def pass_once(self) -> None:
        """One pass over each that wants one, with what the caches know by now."""
        keys, waits = list(self.dirty), []
        self.dirty.clear()
        for key in keys:
            try:
                waits.append(asyncio.run(self._pass(key)))
            except KilledError:
                self.restart()
                return
            except ApiError:
                self.dirty.add(key)
        self.waits = [wait for wait in waits if wait is not None]

    async def _list(self) -> None:
        for reflector in self.caches.reflectors:
            await reflector._list()
        await self.audit.until_listed()
        await self.audit.settle()

    async def _pass(self, key: Key) -> float | None:
        return await self.reconciler.reconcile(key)

    # What must hold.

    def settle(self) -> None:
        """Everything comes to rest, and nothing is written any more; then all is as it was asked for."""
        for _ in range(ROUNDS):
            before = self.cluster.writes
            self.cluster.collect()
            self.cluster.autoscale()
            self.cluster.run()
            for kind in {kind for kind, _ in self.cluster.events}:
                if kind in {CHURN_MODEL, *(reflector.kind for reflector in self.caches.reflectors)}:
                    self.deliver(kind)
            self.cluster.events = [each for each in self.cluster.events if each[0] is CHURN_MODEL]
            resting = not self.dirty
            if resting:
                self.wait(60.0)
                self.caches.models.touch()
            self.pass_once()
            if resting and before == self.cluster.writes and not self.cluster.events:
                break
        else:
            raise AssertionError(f"it writes on and on: {self.dirty}")
        self._compare()

    def _compare(self) -> None:
        models = {model["metadata"]["name"]: model for model in self.cluster.present(CHURN_MODEL)}
        uids = {model["metadata"]["uid"] for model in models.values()}
        for kind in CHILD_KINDS:
            assert {controller_uid(obj) for obj in self.cluster.present(kind)} <= uids, kind.kind
        for name, model in models.items():
            observed = self.caches.observe((NAMESPACE, name))
            assert observed
            assert observed.model["spec"] == model["spec"]
            decision = decide(observed, Settings())
            said = {c["type"]: c for c in model["status"]["conditions"]}
            assert model["status"]["observedGeneration"] == model["metadata"]["generation"]
            if isinstance(decision, Halt):
                assert decision.reason is Reason.INVALID_SPEC
                assert said["Stalled"]["reason"] == Reason.INVALID_SPEC
                continue
            assert said["Ready"]["status"] == str(decision.needed > 0), said["Ready"]
            desired = build_desired(decision, observed, Settings())
            for kind, child in desired.children.items():
                seen = self.cluster.read((kind, NAMESPACE, child["metadata"]["name"]))
                assert covers(seen, stamped(child)), kind.kind
                assert foreign_paths(seen, stamped(child)) == []
            owned = [(kind, obj["metadata"]["name"]) for kind, obj in observed.owned]
            assert all(desired.wants(kind, child) for kind, child in owned), owned
            replicas = self.cluster.read((DEPLOYMENT, NAMESPACE, name))["spec"]["replicas"]
            if autoscaling := decision.autoscaled and decision.spec.autoscaling:
                asked = max(self.cluster.demand[NAMESPACE, name], autoscaling.min_replicas)
                assert replicas == min(asked, autoscaling.max_replicas)
            else:
                assert replicas == decision.replicas


PORTS = st.integers(1, 3)
REPLICAS = st.integers(1, 7)
CHILDREN = st.sampled_from(CHILD_KINDS)
STEPS: dict[str, tuple[st.SearchStrategy[Any], ...]] = {
    "wait": (st.sampled_from([0.5, 6.0, 60.0]),),
    "apply": (NAMES, CHANGES),
    "delete": (NAMES,),
    "delete_child": (CHILDREN, st.integers(0, 3)),
    "edit_child": (CHILDREN, st.integers(0, 1), st.sampled_from(EDITS)),
    "open_port": (NAMES, PORTS),
    "autoscale": (NAMES, REPLICAS),
    "collect": (),
    "run_pods": (),
    "fail": (st.sampled_from(sorted(FAULTS)), st.booleans()),
    "restart": (),
    "deliver": (st.sampled_from([CHURN_MODEL, *CHILD_KINDS, POD]),),
    "lose_the_watches": (),
    "pass_once": (),
    "settle": (),
}
OFTEN = ("apply", "edit_child", "deliver", "fail", "pass_once", "pass_once")
"""What happens more often than the rest."""
LENGTH = 60 if THOROUGH else 40
LIFE = st.lists(
    st.one_of(*(st.tuples(st.just(name), *STEPS[name]) for name in (*STEPS, *OFTEN))),
    min_size=LENGTH,
    max_size=LENGTH,
)


@generated(500 if THOROUGH else 40)
@given(life=LIFE)
def test_what_is_there_is_what_is_asked_for(life: list[tuple[Any, ...]]):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_module, "DELIVERY_SECONDS", 0.0)
        patch.setattr(reconcile_module, "time", reconcile_module.time)  # the machine's clock goes with it
        machine = Machine()
        machine.apply("a", {"autoscaling": AUTOSCALING})
        machine.apply("b", {})
        machine.settle()
        for step, *how in life:
            getattr(machine, step)(*how)
        machine.cluster.fault = None
        machine.settle()
