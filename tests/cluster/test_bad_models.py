"""A bad bundle is refused by name while the revision that served goes on serving."""

import pytest

from churn_dev.bundles import Models
from churn_dev.churnmodel import churn_model, predict, service_url, wait_ready
from churn_dev.kubectl import Kubectl, Object, condition, wait_until

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize(
    ("bundle", "reason"),
    [("truncated", "FileMismatch"), ("falsified", "GoldenMismatch"), ("mispinned", "DigestMismatch")],
)
def test_a_bad_bundle_shows_its_reason_and_the_old_revision_answers(
    namespace: Kubectl, models: Models, customers: list[Object], bundle: str, reason: str
) -> None:
    namespace.apply(churn_model("telco", models.first.model))
    wait_ready(namespace, "telco")
    url = service_url(namespace, "telco")
    mispinned = {"uri": models.second.model["uri"], "digest": models.first.digest}
    model = mispinned if bundle == "mispinned" else getattr(models, bundle).model

    namespace.apply(churn_model("telco", model))
    wait_until(lambda: any(map(_has_ended, namespace.list("pods"))), "a container of the new revision ended")

    def loaded() -> Object | None:
        said = condition(namespace.get("churnmodel", "telco"), "ModelLoaded")
        return said if said.get("reason") == reason else None

    said = wait_until(loaded, f"ModelLoaded says {reason}")
    seen = namespace.get("churnmodel", "telco")
    assert said["status"] == "False"
    assert condition(seen, "Ready")["status"] == "False"
    assert condition(seen, "Available")["status"] == "True"
    assert predict(url, customers)["version"] == "1"


def test_a_refused_model_heals_when_the_good_one_returns(namespace: Kubectl, models: Models) -> None:
    namespace.apply(churn_model("telco", models.first.model))
    wait_ready(namespace, "telco")
    pods = {pod["metadata"]["uid"] for pod in namespace.list("pods")}
    namespace.apply(churn_model("telco", models.truncated.model))
    wait_until(
        lambda: (
            condition(namespace.get("churnmodel", "telco"), "ModelLoaded").get("reason") == "FileMismatch"
        ),
        "the truncated bundle refused",
    )

    namespace.apply(churn_model("telco", models.first.model))

    wait_ready(namespace, "telco")
    wait_until(
        lambda: {pod["metadata"]["uid"] for pod in namespace.list("pods")} == pods,
        "only the pods that served all along",
    )


def _has_ended(pod: Object) -> bool:
    containers = pod["status"].get("containerStatuses", ())
    return any("terminated" in each[state] for each in containers for state in ("state", "lastState"))
