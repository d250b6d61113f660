"""What happens to a model in its life, done to one on the local cluster on purpose."""

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from churn_dev import cgroups, images, release
from churn_dev.bundles import Models
from churn_dev.churnmodel import churn_model, service_url, wait_ready
from churn_dev.errors import DevError
from churn_dev.kubectl import Kubectl, KubectlError, Object, condition, wait_until
from churn_dev.local import LocalCluster
from churn_operator.api.conditions import BUNDLE_REASONS

NAME = "telco"
REPLICAS = 2


class Disturbed:
    """One ChurnModel, serving, and what can be done to it; `settle` waits until it stands again.

    Args:
        cluster: a local cluster with the chart installed.
        kubectl: in the namespace of the ChurnModel.
        models: the published bundles.
    """

    def __init__(self, cluster: LocalCluster, kubectl: Kubectl, models: Models) -> None:
        self._cluster = cluster
        self._kubectl = kubectl
        cluster.load_image(images.build_second_serving())
        mispinned = {"uri": models.second.model["uri"], "digest": models.first.digest}
        self._images = itertools.cycle([images.SECOND_SERVING, images.SERVING])
        self._models = itertools.cycle([models.second.model, models.first.model])
        self._thresholds = itertools.cycle([0.4, 0.6])
        self._bad = itertools.cycle([models.truncated.model, models.falsified.model, mispinned])
        self._wanted = churn_model(NAME, models.first.model, replicas=REPLICAS)
        self._apply()
        self.settle()

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"{service_url(self._kubectl, NAME)}/predict"

    def settle(self) -> None:
        """Waits until what is asked for serves and nothing else is left, so that each thing happens alone."""
        wait_ready(self._kubectl, NAME, seconds=180)
        wait_until(lambda: len(self._pods()) == REPLICAS, "only the wanted pods", seconds=120)

    def roll_model(self) -> None:
        self._apply(model=next(self._models))

    def roll_image(self) -> None:
        self._apply(serving=self._wanted["spec"]["serving"] | {"image": next(self._images)})

    def drain(self) -> None:
        """Drains a node of all that runs on it, the operator included, and gives it back."""
        node = self._pods()[0]["spec"]["nodeName"]
        options = ["--delete-emptydir-data", "--ignore-daemonsets", "--force", "--timeout=120s"]
        try:
            self._kubectl.run("drain", node, *options, timeout_seconds=150)
            self.settle()
        finally:
            self._kubectl.run("uncordon", node)

    def scale_down(self) -> None:
        """To twice the replicas first."""
        self._apply(replicas=2 * REPLICAS)
        wait_ready(self._kubectl, NAME, seconds=180)
        self._apply(replicas=REPLICAS)

    def try_bad_model(self) -> None:
        """Asks for a bundle that is refused; once it is, for the good one again."""
        good = self._wanted["spec"]["model"]
        self._apply(model=next(self._bad))
        wait_until(self._is_refused, "the bad model to be refused", seconds=120)
        self._apply(model=good)

    def kill_operator(self) -> None:
        """SIGKILL in the middle of a rollout of the model."""
        self.roll_model()
        wait_until(lambda: len(self._pods()) > REPLICAS, "the rollout to begin")
        for pid in self._operator_processes():
            os.kill(pid, signal.SIGKILL)

    def lose_api_server(self, seconds: float) -> None:
        """With its controllers: where they elect a leader they end too, unable to renew the lease.

        Ours elect none. Left alone they would judge the nodes by leases that they could not read.
        """
        for part in ("kube-controller-manager", "kube-apiserver"):
            self._cluster.stop(part)
        time.sleep(seconds)
        self._cluster.start("kube-apiserver")
        wait_until(self._api_answers, "the API server to answer")
        self._cluster.start("kube-controller-manager")

    def go_back_and_upgrade(self) -> None:
        """To the release before, a rollout of the model under it, and up again; nothing else moves the pods.

        Raises:
            DevError: a pod was replaced, or the spec changed.
        """
        self._change_release(release.go_back)
        self.roll_model()
        self.settle()
        self._change_release(release.install)

    def _change_release(self, change: Callable[[LocalCluster], None]) -> None:
        before = self._standing()
        change(self._cluster)
        # Ready in this generation says that the other operator saw it.
        self._apply(decision={"threshold": next(self._thresholds)})
        self.settle()
        after = self._standing()
        if after != before:
            raise DevError(f"a change of the release moved a model: {before} became {after}")

    def _standing(self) -> tuple[set[str], Object]:
        spec: Object = (self._kubectl.get("churnmodel", NAME) or {})["spec"]
        return {pod["metadata"]["uid"] for pod in self._pods()}, spec | {"decision": None}

    def _apply(self, **changes: object) -> None:
        self._wanted["spec"] |= changes
        self._kubectl.apply(self._wanted)

    def _pods(self) -> list[Object]:
        return self._kubectl.list("pods", f"churnops.io/model={NAME}")

    def _is_refused(self) -> bool:
        seen = self._kubectl.get("churnmodel", NAME) or {}
        said = condition(seen, "Ready")
        is_current = said.get("observedGeneration") == seen["metadata"]["generation"]
        return is_current and said["reason"] in BUNDLE_REASONS

    def _operator_processes(self) -> list[int]:
        layout = self._cluster.layout
        found = [pid for node in layout.node_names for pid in cgroups.processes(layout.cgroup(node))]
        return [pid for pid in found if b"churn_operator" in _command_line(pid)]

    def _api_answers(self) -> bool:
        try:
            return self._kubectl.run("get", "--raw=/readyz") == "ok"
        except KubectlError:
            return False


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
        return b""
