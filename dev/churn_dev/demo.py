"""`make demo`: from nothing to three scored customers on a real cluster, every step timed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from churn_dev import bundles, images
from churn_dev.churnmodel import predict, restricted_namespace, wait_ready
from churn_dev.cluster import Cluster, prepare, up
from churn_dev.console import step
from churn_dev.kubectl import Kubectl, Object
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
        with self._timed("tools"):
            prepare()
        with self._timed("cluster"):
            cluster = up(name=self._name)
        with self._timed("model"):
            bundle = self._train()
        with self._timed("images"):
            image = self._publish(cluster, bundle)
        with self._timed("chart"):
            install(cluster)
        kubectl = Kubectl(cluster.kubeconfig, NAMESPACE)
        with self._timed("ChurnModel Ready"):
            self._apply(kubectl, image)
            wait_ready(kubectl, MODEL, seconds=180)
        with self._timed("score"), kubectl.forward(f"service/{MODEL}", 80) as url:
            answer = predict(url, _three_customers(image))
        self._report(kubectl, answer)

    @contextmanager
    def _timed(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        with step(title):
            yield
        self._seconds[title] = time.monotonic() - started

    def _train(self) -> Path:
        """The trained bundle; trained once for each state of the data and of the training code."""
        bundle = cache_dir() / "demo" / images.content_key([bundles.TELCO, ROOT / "serving"])
        if not (bundle / "SHA256SUMS").exists():
            bundles.train_telco(bundle)
        return bundle

    def _publish(self, cluster: Cluster, bundle: Path) -> bundles.ModelImage:
        for product in images.build_product():
            cluster.load_image(product)
        bundles.publish(cluster, ROOT / "k8s/samples/bundle", images.SAMPLE)
        return bundles.publish(cluster, bundle, MODEL_IMAGE)

    def _apply(self, kubectl: Kubectl, image: bundles.ModelImage) -> None:
        model = {
            "apiVersion": "churnops.io/v1alpha1",
            "kind": "ChurnModel",
            "metadata": {"name": MODEL, "namespace": NAMESPACE},
            "spec": {"model": image.model, "replicas": 2, "decision": {"threshold": 0.42}},
        }
        kubectl.apply(restricted_namespace(NAMESPACE))
        kubectl.apply(model)

    def _report(self, kubectl: Kubectl, answer: dict[str, object]) -> None:
        say = self._out.print
        say(f"\n$ kubectl get churn --namespace {NAMESPACE}")
        say(kubectl.run("get", "churn"), markup=False)
        say("$ curl --json @customers.json http://127.0.0.1:8080/predict")
        say(json.dumps(answer, indent=2), markup=False)
        say("\nTry next:")
        for line in _next_commands(self._name):
            say(f"  {line}", markup=False)
        say("\nTook:")
        for title, seconds in self._seconds.items():
            say(f"  {title:<18}{seconds:7.1f} s", markup=False)
        say(f"  {'total':<18}{sum(self._seconds.values()):7.1f} s")


def _three_customers(image: bundles.ModelImage) -> list[Object]:
    """The least, the middle and the most likely to churn of the golden rows."""
    rows = sorted(image.golden_rows(), key=lambda row: float(row["probability"]))
    return [
        {"customerID": f"customer-{number}", **row["record"]}
        for number, row in enumerate((rows[0], rows[len(rows) // 2], rows[-1]), start=1)
    ]


def _next_commands(name: str) -> list[str]:
    programs = "$(dirname $(.venv/bin/churn-dev tools kubectl))"
    change = '{"spec": {"decision": {"threshold": 0.2}}}'
    return [
        f"export KUBECONFIG=$(.venv/bin/churn-dev kubeconfig --name {name}) PATH={programs}:$PATH",
        f"kubectl config set-context --current --namespace {NAMESPACE}",
        f"kubectl describe churn {MODEL}",
        "kubectl explain churnmodel.spec",
        f"kubectl port-forward service/{MODEL} 8080:80    # then open http://127.0.0.1:8080/docs",
        f"kubectl patch churn {MODEL} --type merge --patch '{change}'",
        "make down",
    ]
