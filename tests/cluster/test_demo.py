"""`make demo`, as the README promises it."""

import re
from pathlib import Path

import pytest

from churn_dev.cluster import Cluster
from churn_dev.kubectl import Kubectl

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]


def test_the_demo_prints_the_model_the_answers_and_the_times(demo_output: str) -> None:
    assert re.search(r"^telco\s+True\s+", demo_output, re.MULTILINE)
    assert len(re.findall(r'"probability": 0\.\d+', demo_output)) == 3
    assert re.search(r"total\s+[\d.]+ s", demo_output)


def test_the_samples_apply_as_they_stand_and_become_ready(cluster: Cluster, namespace: Kubectl) -> None:
    for sample in sorted((ROOT / "k8s/samples").glob("*.yaml")):
        namespace.run("apply", "--server-side", "--validate=strict", f"--filename={sample}")
    models = namespace.list("churnmodels")
    assert models
    for model in models:
        namespace.run(
            "wait", f"churnmodel/{model['metadata']['name']}", "--for=condition=Ready", "--timeout=120s"
        )
