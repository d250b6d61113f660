"""Pure: is what we want there, and is something in our own lists and maps that we did not put there?"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from churn_operator.api.schema import quantity_value
from churn_operator.digests import digest_of
from churn_operator.kinds import DISRUPTION_BUDGET, NETWORK_POLICY
from churn_operator.names import DESIRED_ANNOTATION

Path = tuple[str | int, ...]

WHOLE_MAPS = frozenset({"data", "limits", "matchLabels", "nodeSelector", "requests", "selector"})
"""Maps that are ours entirely: a foreign key in them changes what runs, or what is selected."""
WHOLE_SPECS = frozenset({DISRUPTION_BUDGET.kind, NETWORK_POLICY.kind})
"""Kinds whose spec the server adds nothing to: a foreign key there excludes or widens ours."""
FOREIGN_KEYS = frozenset(
    {
        "add", "affinity", "command", "env", "envFrom", "externalName", "hostIPC", "hostNetwork", "hostPID",
        "initContainers", "nodeName", "nodeSelector", "privileged", "tolerations",
    }
)  # fmt: skip
"""What makes a pod do something else or more, or elsewhere, and is foreign wherever we do not set it."""
QUANTITY_PARENTS = frozenset({"limits", "requests"})
QUANTITY_PLACES = frozenset(
    {
        ("emptyDir", "sizeLimit"),
        ("target", "averageValue"),
        ("target", "value"),
        ("scaleUp", "tolerance"),
        ("scaleDown", "tolerance"),
    }
)
"""Where quantities are: a label or a taint may be called `value` too."""
FREE_MAPS = WHOLE_MAPS | {"annotations", "labels"}
"""Maps whose keys are people's own: there an empty value says something."""
LIST_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ports": ("containerPort", "port", "protocol"),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""Lists whose elements have an identity, and the fields that make it, as in the API's own merge keys."""


def stamped(desired: dict[str, Any]) -> dict[str, Any]:
    """`desired` with the digest of itself, by which a field that is no longer wanted is noticed."""
    metadata = desired["metadata"]
    annotations = metadata.get("annotations", {}) | {DESIRED_ANNOTATION: digest_of(desired)}
    return desired | {"metadata": metadata | {"annotations": annotations}}


def was_asked_for(desired: dict[str, Any], observed: dict[str, Any]) -> bool:
    """Whether exactly `desired` (stamped) was applied last, whatever happened to the object since."""
    return bool(
        desired["metadata"]["annotations"][DESIRED_ANNOTATION]
        == observed["metadata"].get("annotations", {}).get(DESIRED_ANNOTATION)
    )


def is_as_wanted(observed: dict[str, Any], desired: dict[str, Any]) -> bool:
    """Whether nothing is to be written: `desired` (stamped) was asked for and is there, alone."""
    return (
        was_asked_for(desired, observed)
        and covers(observed, desired)
        and not foreign_paths(observed, desired)
    )


def covers(observed: Any, desired: Any, path: Path = ()) -> bool:
    """Whether every field of `desired` is in `observed` with the same meaning. Maps may hold more."""
    if observed == desired:  # as most of it is: compared in C
        return True
    if isinstance(desired, dict):
        return isinstance(observed, dict) and all(
            (observed[key] == value or covers(observed[key], value, (*path, key)))
            if key in observed
            else _left_out(value, path)
            for key, value in desired.items()
        )
    if isinstance(desired, list):
        return isinstance(observed, list) and _covers_list(observed, desired, path)
    return _same_quantity(observed, desired, path)


def _left_out(value: Any, path: Path) -> bool:
    """Whether the server keeps no such field: an empty list, map or string that somebody spelt out."""
    return value in ([], {}) or (value == "" and path[-1] not in FREE_MAPS)


def _covers_list(observed: list[Any], desired: list[Any], path: Path) -> bool:
    if path[-1] == "ownerReferences":
        return all(owner in observed for owner in desired)
    keys = LIST_KEYS.get(str(path[-1]))
    if keys is None:  # ours as a whole: the server adds nothing inside, so what is more is not ours
        return len(observed) == len(desired) and all(
            covers(seen, wanted, (*path, index)) and covers(wanted, seen, (*path, index))
            for index, (seen, wanted) in enumerate(zip(observed, desired, strict=True))
        )
    seen_by_identity = {_identity(element, keys): element for element in observed}
    return all(
        (seen := seen_by_identity.get(_identity(element, keys))) is not None
        and covers(seen, element, (*path, 0))
        for element in desired
    )


def _identity(element: dict[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(element.get(key) for key in keys)


def _same_quantity(observed: Any, desired: Any, path: Path) -> bool:
    """The server rewrites quantities: 1000m is 1, 1073741824 is 1Gi."""
    if path[-2:] not in QUANTITY_PLACES and path[-2:-1] not in {(parent,) for parent in QUANTITY_PARENTS}:
        return False
    try:
        return quantity_value(observed) == quantity_value(desired)
    except (TypeError, ValueError):
        return False


def foreign_paths(observed: dict[str, Any], desired: dict[str, Any]) -> list[Path]:
    """What somebody else put into lists and maps that are ours entirely, as paths into `observed`.

    Server-side apply leaves another manager's entries alone, so these are removed one by one. Later elements
    of a list come first: removing them in this order keeps the other indices right.
    """
    return list(_foreign(observed, desired, (), whole_spec=desired.get("kind") in WHOLE_SPECS))


def _foreign(observed: Any, desired: Any, path: Path, *, whole_spec: bool) -> Iterator[Path]:
    if observed == desired:
        return
    if isinstance(desired, dict) and isinstance(observed, dict):
        if (path and path[-1] in WHOLE_MAPS and path[:1] != ("metadata",)) or (
            whole_spec and path == ("spec",)
        ):
            yield from ((*path, key) for key in observed.keys() - desired.keys())
        elif "metadata" not in path:  # a label may be called env
            yield from ((*path, key) for key in (observed.keys() & FOREIGN_KEYS) - desired.keys())
        for key, value in desired.items():
            if (seen := observed.get(key)) != value:  # most is equal, and gets no generator of its own
                yield from _foreign(seen, value, (*path, key), whole_spec=whole_spec)
    elif isinstance(desired, list) and isinstance(observed, list) and (keys := LIST_KEYS.get(str(path[-1]))):
        wanted = {_identity(element, keys): element for element in desired}
        for index in reversed(range(len(observed))):
            identity = _identity(observed[index], keys)
            if identity in wanted:
                yield from _foreign(observed[index], wanted[identity], (*path, index), whole_spec=whole_spec)
            else:
                yield (*path, index)


def removal(seen: dict[str, Any], paths: list[Path], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """JSON Patch (RFC 6902) that removes what is at `paths` of `seen`, as `foreign_paths` gave them.

    A list of nothing else becomes ours and not empty. The object then counts as not asked for; one that is of
    another version by now is left alone.
    """
    lists = Counter(path[:-1] for path in paths if isinstance(path[-1], int))
    whole = {
        place: _at(wanted, place)
        for place, count in lists.items()
        if all(isinstance(key, str) for key in place) and count == len(_at(seen, place))
    }
    return [
        _replaced(("metadata", "resourceVersion"), seen["metadata"]["resourceVersion"]),
        _replaced(("metadata", "annotations", DESIRED_ANNOTATION), ""),
        *(_replaced(place, ours) for place, ours in whole.items()),
        *({"op": "remove", "path": _pointer(path)} for path in paths if path[:-1] not in whole),
    ]


def _replaced(path: Path, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": _pointer(path), "value": value}


def _at(obj: Any, path: Path) -> Any:
    for key in path:
        obj = obj[key]
    return obj


def _pointer(path: Path) -> str:
    return "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)
