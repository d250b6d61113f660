"""What a change of a ChurnModel costs: the operator's writes in its namespace, by what they do."""

import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from churn_dev.audit import AuditLog, Request
from churn_dev.kubectl import Kubectl, Object
from churn_operator.reconcile import ANSWER_SECONDS, QUIET_SECONDS

STATUS = "patch churnmodels/status 200"
NEAR = 0.5
"""A share of the operator's clocks, by which the API server's may show less or more."""


def of(writes: list[Request], kubectl: Kubectl) -> Counter[str]:
    """Writes in a namespace by verb, kind and code."""
    return Counter(str(write) for write in writes if write.namespace == kubectl.namespace)


def of_a_rollout(
    namespace: Kubectl, kubelet: Any, operator: Any, change: Callable[[], object]
) -> Counter[str]:
    """Writes from a change to Ready and after.

    Less what a slow machine adds: counts that are told on the way where that is long, or after a status that
    could not wait for the Deployment's controller.
    """
    audit, theirs = operator.audit(), AuditLog(operator.audit_log, "kube-controller-manager/")
    change()
    kubelet.run_until_ready()
    ready = time.time()
    writes = operator.settle(audit, quiet_seconds=6)
    told = [each.ended for each in writes if str(each) == STATUS and each.namespace == namespace.namespace]
    late = is_answered_late(writes, theirs.writes(), namespace)
    on_the_way = told if late else [moment for moment in told if moment < ready][:-1]
    counts = sum(
        later - earlier > QUIET_SECONDS - NEAR for earlier, later in pairwise(told) if later in on_the_way
    )
    return of(writes, namespace) - Counter({STATUS: counts})


def is_answered_late(ours: list[Request], theirs: list[Request], kubectl: Kubectl) -> bool:
    """Whether the controllers took long from a Deployment to where its first new pod is counted."""
    asked, made, counted = (
        [each.ended for each in writes if (each.namespace, each.target) == (kubectl.namespace, target)]
        for writes, target in ((ours, "deployments"), (theirs, "pods"), (theirs, "deployments/status"))
    )
    if not (asked and made):
        return False
    answered = min(each for each in (*counted, time.time()) if each > min(made))
    return answered - max(asked) > ANSWER_SECONDS * NEAR


def of_a_change(
    namespace: Kubectl, kubelet: Any, operator: Any, settled: Object, change: Callable[[], object]
) -> Counter[str]:
    """Writes that follow a change of a ChurnModel that has come to rest."""
    namespace.apply(settled)
    kubelet.run_until_ready()
    operator.settle(operator.audit())
    return of_a_rollout(namespace, kubelet, operator, change)
