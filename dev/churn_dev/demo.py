"""`make demo`: from nothing to three scored customers on a real cluster, every step timed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from churn_dev import bundles, images, tools
from churn_dev.churnmodel import predict, service_url, wait_ready
from churn_dev.cluster import Cluster, up
from churn_dev.console import step
from churn_dev.kubectl import Kubectl
from churn_dev.paths import ROOT, cache_dir
from churn_dev.release import install

MODEL = "telco"
NAMESPACE = "churn-demo"
MODEL_IMAGE = "docker.io/churnops/telco-demo:1"


class Demo:
    """The steps in order; each is safe to repeat and takes no time when its work is done already.

    Args:
        name: name of the local cluster.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._seconds: dict[str, float] = {}
        self._out = Console(highlight=False, soft_wrap=True)

    def run(self) -> None:
        """Runs every step and prints what came of it."""
        with self._timed("cluster tools"):
            tools.build_all()
        with self._timed("cluster"):
            cluster = up(name=self._name)
        with self._timed("train"):
            bundle = self._train()
        with self._timed("images"):
            images.build_product()
            image = self._publish(cluster, bundle)
        with self._timed("chart"):
            install(cluster)
        kubectl = Kubectl(cluster.kubeconfig, NAMESPACE)
        with self._timed("ChurnModel Ready"):
            self._apply(kubectl, image)
            wait_ready(kubectl, MODEL, seconds=180)
        with self._timed("score"):
            answer = predict(service_url(kubectl, MODEL), [row["record"] for row in image.golden_rows()[:3]])
        self._report(kubectl, answer)

    @contextmanager
    def _timed(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        with step(title):
            yield
        self._seconds[title] = time.monotonic() - started

    def _train(self) -> Path:
        """The trained bundle; trained once for each state of the data and of the training code."""
        key = images.content_key([bundles.TELCO, ROOT / "serving"])
        bundle = cache_dir() / "demo" / key
        if not (bundle / "SHA256SUMS").exists():
            bundles.train_telco(bundle)
        return bundle

    def _publish(self, cluster: Cluster, bundle: Path) -> bundles.ModelImage:
        for image in (images.OPERATOR, images.SERVING):
            cluster.load_image(image)
        sample = ROOT / "k8s/samples/bundle"
        bundles.publish(cluster, sample, images.SAMPLE)
        return bundles.publish(cluster, bundle, MODEL_IMAGE)

    def _apply(self, kubectl: Kubectl, image: bundles.ModelImage) -> None:
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": restricted},
        }
        model = {
            "apiVersion": "churnops.io/v1alpha1",
            "kind": "ChurnModel",
            "metadata": {"name": MODEL, "namespace": NAMESPACE},
            "spec": {"model": image.model, "replicas": 2, "decision": {"threshold": 0.42}},
        }
        kubectl.apply(namespace)
        kubectl.apply(model)

    def _report(self, kubectl: Kubectl, answer: dict[str, object]) -> None:
        say = self._out.print
        say(f"\n$ kubectl get churn --namespace {NAMESPACE}")
        say(kubectl.run("get", "churn"), markup=False)
        say(f"$ curl {service_url(kubectl, MODEL)}/predict --json @customers.json")
        say(json.dumps(answer, indent=2), markup=False)
        say("\nTry next:")
        for line in _next_commands(self._name, service_url(kubectl, MODEL)):
            say(f"  {line}", markup=False)
        say("\nTook:")
        for title, seconds in self._seconds.items():
            say(f"  {title:<18}{seconds:7.1f} s", markup=False)
        say(f"  {'total':<18}{sum(self._seconds.values()):7.1f} s")


def _next_commands(name: str, url: str) -> list[str]:
    programs = "$(dirname $(.venv/bin/churn-dev tools kubectl))"
    change = '{"spec": {"decision": {"threshold": 0.2}}}'
    return [
        f"export KUBECONFIG=$(.venv/bin/churn-dev kubeconfig --name {name}) PATH={programs}:$PATH",
        f"kubectl describe churn {MODEL} --namespace {NAMESPACE}",
        "kubectl explain churnmodel.spec",
        f"curl {url}/openapi.json",
        f"kubectl patch churn {MODEL} --namespace {NAMESPACE} --type merge --patch '{change}'",
        "make down",
    ]
