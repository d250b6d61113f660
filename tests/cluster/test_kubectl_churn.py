"""`kubectl churn` against replicas that run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from churn_dev import tools
from churn_dev.bundles import Models
from churn_dev.churnmodel import churn_model, wait_ready
from churn_dev.kubectl import Kubectl

pytestmark = pytest.mark.cluster


def churn(kubectl: Kubectl, *arguments: str, stdin: str = "") -> str:
    """What `kubectl churn` prints."""
    program = tools.path("kubectl")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [program, "churn", *arguments, f"--namespace={kubectl.namespace}"],
        env=os.environ | {"KUBECONFIG": str(kubectl.kubeconfig), "PATH": path, "KUBECTL": str(program)},
        input=stdin, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_customers_are_scored_with_reasons_and_the_tree_says_what_serves(
    namespace: Kubectl, models: Models
) -> None:
    namespace.apply(churn_model("telco", models.first.model))
    wait_ready(namespace, "telco")
    rows = models.first.golden_rows()[:2]
    records = json.dumps([row["record"] for row in rows])

    said = json.loads(churn(namespace, "predict", "telco", "--explain", "--output=json", stdin=records))

    probabilities = [each["probability"] for each in said["predictions"]]
    assert probabilities == pytest.approx([row["probability"] for row in rows], abs=1e-5)
    assert all(each["reasons"] for each in said["predictions"])
    assert "probability" in churn(namespace, "predict", "telco", stdin=records)
    assert "serves, asked for: 1 of 1 replicas ready" in churn(namespace, "status", "telco")
    assert "the CRD churnmodels.churnops.io is the one that this program knows" in churn(namespace, "doctor")
