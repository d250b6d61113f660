"""What checkov and kube-score find in what we render is answered in dev/policy/exceptions.yaml."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from churn_dev.generate import CHART, SAMPLES
from churn_dev.kubectl import Object
from churn_dev.policy import Answer, Finding, answers, findings
from churn_operator.decide import Plan, decide
from churn_operator.desired import build_desired
from churn_operator.observe import Observed
from churn_operator.settings import Settings

Render = Callable[..., list[Object]]

CARELESS = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "careless", "namespace": "shop"},
    "spec": {
        "hostNetwork": True,
        "containers": [{"name": "a", "image": "a", "securityContext": {"privileged": True}}],
    },
}


def children(sample: Path) -> Iterator[Object]:
    """What the operator makes of a sample's ChurnModel."""
    (model,) = [obj for obj in yaml.safe_load_all(sample.read_text()) if obj["kind"] == "ChurnModel"]
    model["metadata"] |= {"namespace": "shop", "uid": "1", "generation": 1, "resourceVersion": "1"}
    observed = Observed(model=model, children={}, owned=(), revisions=(), pods=(), service_account=None)
    plan = decide(observed, Settings())
    assert isinstance(plan, Plan)
    yield from build_desired(plan, observed, Settings()).children.values()


@pytest.fixture(scope="module")
def everything(render: Render, tmp_path_factory: pytest.TempPathFactory) -> set[Finding]:
    """In every set of values, in the children of every sample and in a careless pod; each tool runs once."""
    directory = tmp_path_factory.mktemp("rendered")
    rendered = {values.stem: render(values) for values in (CHART / "ci").glob("*-values.yaml")}
    made = {sample.stem: list(children(sample)) for sample in SAMPLES.glob("*.yaml")}
    for name, objects in (rendered | made | {"careless": [CARELESS]}).items():
        assert objects
        (directory / f"{name}.yaml").write_text(yaml.safe_dump_all(objects))
    return findings(directory)


@pytest.fixture(scope="module")
def found(everything: set[Finding]) -> set[Finding]:
    """In what is ours."""
    return {finding for finding in everything if finding.target != "Pod/careless"}


def test_every_finding_is_answered_once(found: set[Finding]):
    answered = {finding: [answer for answer in answers() if answer.covers(finding)] for finding in found}
    assert {finding: given for finding, given in answered.items() if len(given) != 1} == {}


@pytest.mark.parametrize("answer", answers(), ids=lambda answer: " ".join(answer.checks))
def test_every_answer_is_needed_and_says_why(found: set[Finding], answer: Answer):
    needed = {finding for finding in found if answer.covers(finding)}
    assert {finding.check for finding in needed} == set(answer.checks)
    for pattern in answer.objects:
        assert any(fnmatchcase(finding.target, pattern) for finding in needed), pattern
    assert len(answer.reason.split()) > 5


def test_a_careless_pod_is_found_by_both_tools(everything: set[Finding]):
    """So that the tests above can fail."""
    seen = {finding.check for finding in everything if finding.target == "Pod/careless"}
    assert {"CKV_K8S_16", "CKV_K8S_19", "container-security-context-privileged"} <= seen
