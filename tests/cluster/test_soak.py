"""The short form of `make soak`: each disturbance once, no request lost."""

from collections.abc import Callable

import pytest

from churn_dev.bundles import Models
from churn_dev.cluster import Cluster
from churn_dev.kubectl import Kubectl
from churn_dev.local import LocalCluster
from churn_dev.soak import DRAIN_SECONDS, Plan, soak

pytestmark = pytest.mark.cluster

SHORT = Plan(
    rollouts=1,
    drains=1,
    scale_downs=1,
    bad_models=1,
    operator_kills=1,
    upgrades=1,
    outage_seconds=10,
    rate=200,
    locust_rate=0,
    requests=0,
)


def test_no_request_is_lost_whatever_happens(
    cluster: Cluster, namespace: Kubectl, models: Models, measured: Callable[[str], None]
) -> None:
    assert isinstance(cluster, LocalCluster)
    result = soak(cluster, namespace, models, SHORT)
    for each in result.trials:
        measured(f"{each.what}: {each.failed} of {each.sent} failed in {each.seconds:.0f} s")
    measured(f"control, no preStop and no draining: {result.control.describe()}")
    assert [each.what for each in result.trials if not each.sent] == [], "nothing was asked meanwhile"
    assert result.outcomes.failed == 0, result.outcomes.describe()
    assert result.outcomes.longest_idle < DRAIN_SECONDS
    assert result.control.failed > 0, "the control lost nothing: the load sees nothing"
