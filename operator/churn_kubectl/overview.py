"""Pure: a ChurnModel and all that belongs to it as a tree, with what is wrong said in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.text import Text
from rich.tree import Tree

from churn_kubectl.mends import MENDS
from churn_kubectl.records import Entry
from churn_operator.api.conditions import ConditionType
from churn_operator.observe import Pod

_CALM = {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED}


@dataclass(frozen=True)
class Seen:
    """What was read of one ChurnModel. Events and history have the newest first; `now` has a time zone."""

    model: dict[str, Any]
    history: Sequence[Entry]
    pods: Sequence[Pod]
    autoscaler: dict[str, Any] | None
    events: Sequence[dict[str, Any]]
    now: datetime


def build_tree(seen: Seen) -> Tree:
    """The tree: the verdict, its mend, then what there is by revision."""
    ready = _condition(seen, ConditionType.READY)
    tree = Tree(_title(seen, ready))
    if ready.get("status") != "True":
        for line in _trouble(seen, ready):
            tree.add(line)
    for line in _facts(seen):
        tree.add(line)
    for revision, pods in _by_revision(seen).items():
        branch = tree.add(_revision_line(seen, revision, pods))
        for pod in pods:
            branch.add(_pod_line(pod, seen.now))
    if seen.events and ready.get("status") != "True":
        branch = tree.add(Text("events"))
        for event in seen.events[:3]:
            branch.add(Text(f"{_event_age(event, seen.now)} ago {event['reason']}: {event.get('note', '')}"))
    return tree


def _title(seen: Seen, ready: dict[str, Any]) -> Text:
    metadata = seen.model["metadata"]
    good = ready.get("status") == "True"
    verdict = "Ready" if good else f"not Ready ({ready.get('reason', 'the operator has said nothing yet')})"
    return Text.assemble(
        (metadata["name"], "bold"), f" in {metadata['namespace']}: ", (verdict, "green" if good else "red")
    )


def _trouble(seen: Seen, ready: dict[str, Any]) -> Iterator[Text]:
    """What is wrong and what mends it."""
    if not ready:
        yield Text("mend: see whether the operator runs: kubectl churn doctor")
        return
    yield Text(f"because: {ready.get('message', '')}")
    if ready.get("observedGeneration") != seen.model["metadata"]["generation"]:
        yield Text("this speaks of an earlier spec: the operator has not looked at the present one")
    if mend := MENDS.get(ready.get("reason", "")):
        yield Text(f"mend: {mend}", style="yellow")
    failed = next((entry.failed for entry in seen.history if entry.asked_for and entry.failed), "")
    if mend := MENDS.get(failed):
        yield Text(f"mend of {failed}: {mend}", style="yellow")


def _facts(seen: Seen) -> Iterator[Text]:
    spec, status = seen.model["spec"], seen.model.get("status") or {}
    yield Text(f"model {spec['model']['uri']}")
    if url := status.get("url"):
        yield Text(f"answers at {url}/predict" if _answers(seen) else f"nothing answers at {url}")
    if spec.get("suspend"):
        yield Text("suspended: no replica is asked for")
    elif seen.autoscaler:
        bounds = seen.autoscaler["spec"]
        current = (seen.autoscaler.get("status") or {}).get("currentReplicas", 0)
        yield Text(f"autoscaler: {bounds['minReplicas']} to {bounds['maxReplicas']} replicas, now {current}")
    for condition in status.get("conditions", ()):
        if condition["status"] == "False" and condition["type"] not in _CALM:
            yield Text(f"{condition['type']} is False ({condition['reason']}): {condition['message']}")


def _answers(seen: Seen) -> bool:
    return any(pod.ready for pod in seen.pods)


def _by_revision(seen: Seen) -> dict[str, list[Pod]]:
    """Pods by revision: those that people care for first, in the order of the history."""
    found: dict[str, list[Pod]] = {
        entry.revision: [] for entry in seen.history if entry.asked_for or entry.serves
    }
    for pod in sorted(seen.pods, key=lambda pod: pod.name):
        found.setdefault(pod.revision, []).append(pod)
    return found


def _revision_line(seen: Seen, revision: str, pods: list[Pod]) -> Text:
    entry = next((entry for entry in seen.history if entry.revision == revision), None)
    number = f"revision {entry.number} ({revision})" if entry else f"revision {revision}"
    state = f" {entry.state}" if entry and entry.state else " is on its way out"
    ready = sum(pod.ready for pod in pods)
    return Text(f"{number}{state}: {ready} of {len(pods)} replicas ready")


def _pod_line(pod: Pod, now: datetime) -> Text:
    age = f"{pod.name}, {_span(now, pod.created)}: "
    if pod.deleting:
        return Text(f"{age}stopping")
    if pod.ready:
        return Text.assemble(age, ("ready", "green"))
    if pod.failure:
        return Text.assemble(age, (f"{pod.failure.reason}: {pod.failure.message}", "red"))
    return Text(f"{age}starting")


def _event_age(event: dict[str, Any], now: datetime) -> str:
    return _span(now, event.get("eventTime") or event["metadata"]["creationTimestamp"])


def _span(now: datetime, since: str) -> str:
    """Time since then as kubectl shows ages."""
    seconds = int((now - datetime.fromisoformat(since)).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{max(seconds, 0)}s"


def _condition(seen: Seen, kind: str) -> dict[str, Any]:
    conditions = (seen.model.get("status") or {}).get("conditions", ())
    found: dict[str, Any] = next((c for c in conditions if c["type"] == kind), {})
    return found
