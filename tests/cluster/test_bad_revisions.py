"""Bad revisions on real nodes: the reason is told, what answered stays, and then a good one rolls out."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from churn_dev.bundles import ModelImage, Models, burden, publish
from churn_dev.churnmodel import SMALL, churn_model, predict, service_url, wait_ready
from churn_dev.cluster import Cluster
from churn_dev.kubectl import Kubectl, Object, condition, wait_until

pytestmark = pytest.mark.cluster

NOWHERE = "127.0.0.1:1/churnops/churn-serving:none"
"""The node itself refuses the connection: nobody else is asked."""
CRAMPED = {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}}
"""Enough for a process, not for a server."""
HELD_BACK = SMALL | {"limits": SMALL["limits"] | {"cpu": "50m"}}
"""A twentieth of a core: what takes half a second takes ten."""
BARELY_ALIVE = {"requests": {"cpu": "10m"}, "limits": {"cpu": "10m"}}
"""A hundredth of a core: what takes half a second takes a minute."""
BAD = {"image that cannot be pulled": "ImagePullFailed", "no memory": "OOMKilled", "too slow": "TooSlow"}
"""Bad revisions by what is wrong with them, and the reason that tells it."""
NEVER_READY, SLOW_START = "never ready", "slow start"
PATIENCE_SECONDS = 120.0
"""How long to wait for what has no goal. Generous: a loaded machine is no defect."""


@dataclass(frozen=True)
class Course:
    """One ChurnModel and what comes of it."""

    kubectl: Kubectl
    name: str
    models: Models
    customers: list[Object]
    measured: Callable[[str], None]

    def serve(self) -> set[str]:
        """The first model answers; uids of its pods."""
        self.ask({})
        wait_ready(self.kubectl, self.name, seconds=PATIENCE_SECONDS)
        return {pod["metadata"]["uid"] for pod in self.pods()}

    def fail(self, bad: Object, reason: str) -> None:
        """A bad revision from its spec to the good one after it."""
        before = self.serve()
        self.ask(bad)
        self.wait_for(lambda: any(map(_has_failed, self.pods())), "a pod of the bad revision failed")
        failed = time.monotonic()
        self.wait_for(lambda: self.said("Ready")["reason"] == reason, f"Ready says {reason}")
        self.measured(f"{reason} to the ChurnModel: {time.monotonic() - failed:.1f} s (goal: 10)")
        assert (self.said("Ready")["status"], self.said("Available")["status"]) == ("False", "True")
        assert (self.said("ModelLoaded")["status"], self.said("ModelLoaded")["reason"]) == ("False", reason)
        assert before < {pod["metadata"]["uid"] for pod in self.pods()}
        assert self.version() == "1"

        passed = time.monotonic()
        self.ask(bad | {"progressDeadlineSeconds": 1})
        self.go_back(before, reason)
        self.measured(
            f"{reason}, deadline passed to the end of the rollback: {time.monotonic() - passed:.1f} s"
        )
        self.go_on()

    def never_get_ready(self, bad: Object) -> None:
        """A revision that fails at nothing and does not come."""
        before = self.serve()
        began = time.monotonic()
        self.ask(bad | {"progressDeadlineSeconds": 5})
        self.go_back(before, "ProgressDeadlineExceeded")
        self.measured(f"never ready within 5 s to the end of the rollback: {time.monotonic() - began:.1f} s")
        self.go_on()

    def go_back(self, before: set[str], reason: str) -> None:
        """The operator gives the revision up and says why; the pods that answered are left."""
        self.wait_for(lambda: self.said("Ready")["reason"] == "RolledBack", "the rollback")
        assert (self.said("Ready")["status"], self.said("Available")["status"]) == ("False", "True")
        assert reason in self.said("Ready")["message"]
        self.wait_for(
            lambda: {pod["metadata"]["uid"] for pod in self.pods()} == before, "only the pods that answered"
        )
        assert self.version() == "1"

    def go_on(self) -> None:
        """A good revision rolls out."""
        self.ask({"model": self.models.second.model})
        wait_ready(self.kubectl, self.name, seconds=PATIENCE_SECONDS)
        self.wait_for_the_second()

    def start_slowly(self, good: Object) -> None:
        """A good revision that takes its time: it is waited for, and nothing is rolled back."""
        before = self.serve()
        self.ask(good)
        began = time.monotonic()
        while not self.is_ready():
            assert time.monotonic() - began < PATIENCE_SECONDS, self.said("Ready")
            assert self.said("Ready")["reason"] in {"Ready", "RollingOut"}
            assert self.said("Available")["status"] == "True"
            assert self.version() in {"1", "2"}
        self.measured(f"slow start to Ready: {time.monotonic() - began:.0f} s")
        self.wait_for_the_second()
        told = [each for each in self.kubectl.list("events") if each["involvedObject"]["name"] == self.name]
        assert "RolledBack" not in {each["reason"] for each in told}
        self.wait_for(
            lambda: before.isdisjoint(pod["metadata"]["uid"] for pod in self.pods()), "only the slow ones"
        )

    def ask(self, spec: Object) -> None:
        """Asks for the first model, save for what `spec` says."""
        self.kubectl.apply(churn_model(self.name, self.models.first.model, **spec))

    def pods(self) -> list[Object]:
        return self.kubectl.list("pods", f"churnops.io/model={self.name}")

    def said(self, kind: str) -> Object:
        return condition(self.kubectl.get("churnmodel", self.name), kind)

    def is_ready(self) -> bool:
        """Whether what its spec asks for serves."""
        seen = self.kubectl.get("churnmodel", self.name) or {}
        ready = condition(seen, "Ready")
        return (ready["observedGeneration"], ready["status"]) == (seen["metadata"]["generation"], "True")

    def version(self) -> str:
        """Of the model that answers."""
        return str(predict(service_url(self.kubectl, self.name), self.customers)["version"])

    def wait_for_the_second(self) -> None:
        """A node learns a moment after Ready that a pod leaves, which answers until then and longer."""
        self.wait_for(lambda: self.version() == "2", "answers of the second model")

    def wait_for(self, look: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        wait_until(look, f"{self.name}: {what}", seconds=seconds)


@pytest.fixture(scope="module")
def slow_model(cluster: Cluster, models: Models, tmp_path_factory: pytest.TempPathFactory) -> ModelImage:
    """Right, and slower than a millisecond on any machine."""
    directory = tmp_path_factory.mktemp("bundles") / "burdened"
    burden(models.second.directory, directory)
    return publish(cluster, directory, "docker.io/churnops/test-burdened:1")


@pytest.fixture(scope="module")
def ended(
    shared_namespace: Kubectl,
    models: Models,
    slow_model: ModelImage,
    customers: list[Object],
    measured: Callable[[str], None],
) -> dict[str, Future[None]]:
    """What each revision led to: an error, or none."""
    specs: dict[str, Object] = {
        "image that cannot be pulled": {"serving": {"image": NOWHERE}},
        "no memory": {"serving": {"resources": CRAMPED}},
        "too slow": {"model": slow_model.model | {"maxScoringMillis": 1}},
    }
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        courses = {
            what: Course(shared_namespace, what.replace(" ", "-"), models, customers, measured)
            for what in (*BAD, NEVER_READY, SLOW_START)
        }
        running = {what: pool.submit(courses[what].fail, specs[what], BAD[what]) for what in BAD}
        never = {"serving": {"resources": BARELY_ALIVE}}
        running[NEVER_READY] = pool.submit(courses[NEVER_READY].never_get_ready, never)
        slow = {"model": models.second.model, "serving": {"resources": HELD_BACK}}
        running[SLOW_START] = pool.submit(courses[SLOW_START].start_slowly, slow)
    measured(f"bad revisions, all courses at once: {time.monotonic() - began:.0f} s")
    return running


@pytest.mark.parametrize("what", [*BAD, NEVER_READY, SLOW_START])
def test_what_answered_stays_until_a_good_revision_rolls_out(
    ended: dict[str, Future[None]], what: str
) -> None:
    ended[what].result()


def _has_failed(pod: Object) -> bool:
    """Whether a container ended, or cannot begin, as the kubelet says."""
    containers = pod["status"].get("containerStatuses", ())
    states = [each[state] for each in containers for state in ("state", "lastState")]
    return any(
        "terminated" in state
        or state.get("waiting", {}).get("reason") in {"ErrImagePull", "ImagePullBackOff"}
        for state in states
    )
