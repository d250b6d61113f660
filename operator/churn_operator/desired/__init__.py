"""The objects that a plan wants: pure builders, one file per kind of child."""

from dataclasses import dataclass
from typing import Any

from churn_operator.decide import Plan
from churn_operator.desired import (
    autoscaler,
    config_map,
    controller_revision,
    deployment,
    disruption_budget,
    network_policy,
    service,
)
from churn_operator.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SERVICE,
    Kind,
)
from churn_operator.observe import Observed
from churn_operator.settings import Settings


@dataclass(frozen=True)
class Desired:
    """Wanted children by kind, and the names of the old revisions worth keeping."""

    children: dict[Kind, dict[str, Any]]
    kept_revisions: frozenset[str]

    def wants(self, kind: Kind, name: str) -> bool:
        """Whether the object is wanted; what is owned and not wanted is pruned."""
        child = self.children.get(kind)
        return (child is not None and child["metadata"]["name"] == name) or (
            kind is CONTROLLER_REVISION and name in self.kept_revisions
        )


def build_desired(plan: Plan, observed: Observed, settings: Settings) -> Desired:
    """All children that `plan` wants. The same input gives the same objects."""
    children = {
        CONFIG_MAP: config_map.build_config_map(plan, observed),
        CONTROLLER_REVISION: controller_revision.build_controller_revision(plan, observed),
        NETWORK_POLICY: network_policy.build_network_policy(plan, observed, settings),
        SERVICE: service.build_service(plan, observed),
        DEPLOYMENT: deployment.build_deployment(plan, observed, settings),
    }
    if plan.most >= 2:
        children[DISRUPTION_BUDGET] = disruption_budget.build_disruption_budget(observed)
    if plan.autoscaled and plan.spec.autoscaling:
        children[AUTOSCALER] = autoscaler.build_autoscaler(plan.spec.autoscaling, observed)
    kept = controller_revision.kept_revisions(plan, observed, settings)
    return Desired(children=children, kept_revisions=kept)
