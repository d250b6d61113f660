"""An API server and its controllers in small: server-side apply, owners, watches that lag, and faults."""

import copy
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from churn_operator.compare import LIST_KEYS
from churn_operator.errors import (
    ConflictError,
    NotFoundError,
    ServerTroubleError,
    TooManyRequestsError,
    UnprocessableError,
    UnreachableError,
)
from churn_operator.kinds import AUTOSCALER, CONTROLLER_REVISION, DEPLOYMENT, POD, SERVICE, Kind
from churn_operator.runtime.client import JSON_PATCH, WatchEvent

Json = dict[str, Any]
Objects = list[Json]
Place = tuple[Kind, str, str]
Fields = dict[tuple[Any, ...], Any]
KEYS = LIST_KEYS | {"ownerReferences": ("uid",)}
PAST = datetime(2020, 1, 1, tzinfo=UTC)


class KilledError(BaseException):
    """The operator's process ends here."""


FAULTS: dict[str, BaseException] = {
    "conflict": ConflictError(409, "a fault"),
    "busy": TooManyRequestsError(429, "a fault"),
    "trouble": ServerTroubleError(500, "a fault"),
    "lost": UnreachableError(0, "a fault"),
    "killed": KilledError(),
}


class Cluster:
    """Objects, who owns which of their fields, and the events that watches have yet to bring."""

    def __init__(self) -> None:
        self.writes = 0
        self.seconds = 0.0  # since PAST; a change takes one
        self.events: list[tuple[Kind, WatchEvent]] = []
        self.fault: tuple[str, bool] | None = None  # what befalls the next write, and whether it is done
        self.demand: dict[tuple[str, str], int] = defaultdict(lambda: 1)  # replicas that the load calls for
        self._fields: dict[Place, Fields] = {}
        self._owned: dict[Place, dict[str, set[tuple[Any, ...]]]] = {}
        self._numbers = itertools.count(2)

    # What the operator's client does.

    def now(self) -> datetime:
        return PAST + timedelta(seconds=self.seconds)

    async def get(self, kind: Kind, namespace: str, name: str) -> Json:
        return self.read((kind, namespace, name))

    async def list(self, kind: Kind, *_: Any, **__: Any) -> tuple[Objects, str]:
        return self.present(kind), str(next(self._numbers))

    async def pages(self, kind: Kind, *_: Any, **__: Any) -> AsyncIterator[tuple[Objects, str]]:
        yield await self.list(kind)

    async def apply(self, kind: Kind, obj: Json, manager: str, subresource: str | None = None) -> Json:
        place = (kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
        return self._do(lambda: self._apply(place, copy.deepcopy(obj), manager, subresource))

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: Any, manager: str, *, content_type: str
    ) -> Json:
        place = (kind, namespace, name)
        change = _json_patched if content_type == JSON_PATCH else merged
        return self._do(lambda: self.update(place, lambda obj: change(obj, body), manager))

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        def remove() -> Json:
            if self.read((kind, namespace, name))["metadata"]["uid"] != uid:
                raise ConflictError(409, "another uid")
            self.remove((kind, namespace, name))
            return {}

        self._do(remove)

    async def create(self, *_: Any) -> Json:
        return {}  # an Event

    def _do(self, write: Callable[[], Json]) -> Json:
        self.writes += 1
        (name, done), self.fault = self.fault or ("", True), None
        answer = write() if done else {}
        if name:
            raise FAULTS[name]
        return answer

    # What others do.

    def present(self, kind: Kind) -> Objects:
        return [self.read(place) for place in self._fields if place[0] is kind]

    def read(self, place: Place) -> Json:
        if place not in self._fields:
            raise NotFoundError(404, f"{place[0].plural} {place[2]} not found")
        obj = _built(self._fields[place])
        obj["metadata"]["managedFields"] = [
            {
                "manager": manager,
                "time": "2026-01-01T00:00:00Z",
                "fieldsV1": {"f:spec": {"f:replicas": {}}} if ("spec", "replicas") in owned else {},
            }
            for manager, owned in self._owned[place].items()
        ]
        return obj

    def update(self, place: Place, change: Callable[[Json], Json], manager: str) -> Json:
        """A write that is no apply: what it changes is its manager's, and no longer anybody else's."""
        before = self._fields.get(place, {})
        obj = self.read(place) if place in self._fields else place[0].named(*place[1:])
        obj["metadata"].pop("managedFields", None)
        after = dict(_flat(change(obj)))
        changed = {path for path in before | after if before.get(path) != after.get(path)}
        for owned in self._owned.get(place, {}).values():
            owned.difference_update(changed)
        self._keep(place, after, manager, changed & after.keys(), add=True)
        return self.read(place)

    def remove(self, place: Place) -> None:
        obj = self.read(place)
        del self._fields[place], self._owned[place]
        obj["metadata"]["resourceVersion"] = str(next(self._numbers))
        self.events.append((place[0], WatchEvent("DELETED", obj)))

    def collect(self) -> None:
        """The garbage collector: what was owned by an object that is gone goes too."""
        uids = {fields["metadata", "uid"] for fields in self._fields.values()}
        for place in list(self._fields):
            owners = {owner["uid"] for owner in self.read(place)["metadata"].get("ownerReferences", ())}
            if owners and not owners & uids:
                self.remove(place)

    def run(self) -> None:
        """The Deployments' controller and the kubelets: every pod that is asked for is there and ready."""
        wanted: set[str] = set()
        for deployment in self.present(DEPLOYMENT):
            metadata, count = deployment["metadata"], deployment["spec"].get("replicas", 1)
            revision = deployment["spec"]["template"]["metadata"]["labels"]["churnops.io/revision"]
            names = {f"{metadata['name']}-{metadata['uid']}-{revision}-{n}" for n in range(count)}
            wanted |= names
            for name in names - {pod["metadata"]["name"] for pod in self.present(POD)}:
                self._start(metadata, name, revision)
            said = {"observedGeneration": metadata["generation"]} | dict.fromkeys(
                ("replicas", "updatedReplicas", "availableReplicas"), count
            )
            place = (DEPLOYMENT, metadata["namespace"], metadata["name"])
            self.update(place, lambda obj, said=said: obj | {"status": said}, "controller")  # type: ignore[misc]
        for pod in self.present(POD):
            if pod["metadata"]["name"] not in wanted:
                self.remove((POD, pod["metadata"]["namespace"], pod["metadata"]["name"]))

    def scale(self, namespace: str, name: str, replicas: int) -> None:
        """The load calls for so many replicas from now on."""
        self.demand[namespace, name] = replicas
        self.autoscale()

    def autoscale(self) -> None:
        """The autoscalers, those that work, set what the load calls for within their bounds."""
        for metadata, spec in [(hpa["metadata"], hpa["spec"]) for hpa in self.present(AUTOSCALER)]:
            place = (DEPLOYMENT, metadata["namespace"], metadata["name"])
            number = min(max(self.demand[place[1:]], spec["minReplicas"]), spec["maxReplicas"])
            replicas = self.read(place)["spec"]["replicas"] if place in self._fields else 0
            if replicas not in {0, number}:  # at zero an autoscaler rests
                self.update(
                    place,
                    lambda obj, number=number: merged(obj, {"spec": {"replicas": number}}),  # type: ignore[misc]
                    "autoscaler",
                )

    def _start(self, owner: Json, name: str, revision: str) -> None:
        labels = {"churnops.io/model": owner["name"], "churnops.io/revision": revision}
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        self.update(
            (POD, owner["namespace"], name),
            lambda pod: merged(pod, {"metadata": {"labels": labels}, "status": ready}),
            "kubelet",
        )

    def _apply(self, place: Place, obj: Json, manager: str, subresource: str | None) -> Json:
        """Server-side apply, forced."""
        present = self.read(place)["metadata"] if place in self._fields else {}
        asked = {key: obj["metadata"].pop(key, None) for key in ("resourceVersion", "uid")}
        if asked["uid"] and not present:
            raise NotFoundError(404, "not found")
        for key, value in asked.items():
            if value and present and value != present[key]:
                raise ConflictError(409, f"another {key}")
        if subresource:
            return self.update(place, lambda seen: seen | {subresource: obj[subresource]}, manager)
        asking, before = dict(_flat(obj)), self._fields.get(place, {})
        mine = self._owned.get(place, {}).get(manager, set())
        others = set[tuple[Any, ...]]().union(
            *(owned for name, owned in self._owned.get(place, {}).items() if name != manager)
        )
        kept = {path: value for path, value in before.items() if path not in mine - asking.keys() - others}
        if place[0] is CONTROLLER_REVISION and before and _data(kept | asking) != _data(before):
            raise UnprocessableError(422, "data: Invalid value: field is immutable")
        self._keep(place, kept | asking, manager, set(asking))
        return self.read(place)

    def _keep(
        self, place: Place, fields: Fields, manager: str, owned: set[tuple[Any, ...]], *, add: bool = False
    ) -> None:
        before = self._fields.get(place)
        if place[0] is DEPLOYMENT:
            fields.setdefault(("spec", "replicas"), 1)
        managers = self._owned.setdefault(place, {})
        managers[manager] = managers.get(manager, set()) | owned if add else owned
        if before == fields:
            return
        generation = (before or {}).get(("metadata", "generation"), 0)
        moved = {p: v for p, v in fields.items() if p[0] not in {"metadata", "status"}} != {
            p: v for p, v in (before or {}).items() if p[0] not in {"metadata", "status"}
        }
        number = next(self._numbers)
        self.seconds += 1
        created = (before or {}).get(("metadata", "creationTimestamp"), self.now().isoformat())
        fields |= {
            ("metadata", "uid"): (before or {}).get(("metadata", "uid"), f"uid-{number}"),
            ("metadata", "generation"): generation + moved,
            ("metadata", "resourceVersion"): str(number),
            ("metadata", "creationTimestamp"): created,
        }
        self._fields[place] = fields
        self.events.append((place[0], WatchEvent("MODIFIED" if before else "ADDED", self.read(place))))


def _flat(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Each leaf with its path; elements of a list with an identity are told by that."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, (*path, key))
    elif isinstance(value, list) and value and path[-1] in KEYS:
        for element in value:
            identity = tuple(element.get(key) for key in KEYS[path[-1]])
            yield from _flat(element, (*path, identity))
    else:
        yield path, value


def _data(fields: Fields) -> Fields:
    return {path: value for path, value in fields.items() if path[0] == "data"}


def _built(fields: Fields) -> Json:
    root: Json = {}
    for path, value in fields.items():
        target = root
        for key in path[:-1]:
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                break
        else:
            target.setdefault(path[-1], copy.deepcopy(value))
    built: Json = _listed(root)
    return built


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(isinstance(key, tuple) for key in value):
        return [_listed(inner) for inner in value.values()]
    return {key: _listed(inner) for key, inner in value.items()}


def merged(obj: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386); a uid in it must be the object's."""
    if not isinstance(patch, dict):
        return patch
    result = dict(obj) if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if key == "uid" and result.get("uid") != value:
            raise ConflictError(409, "another uid")
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _json_patched(obj: Json, operations: list[Json]) -> Json:
    """The operations that the operator uses of RFC 6902; as on the server, the version is compared last."""
    seen = copy.deepcopy(obj)
    for operation in operations:
        *parents, last = [
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"][1:].split("/")
        ]
        try:
            target: Any = seen
            for part in parents:
                target = target[int(part) if isinstance(target, list) else part]
            key = int(last) if isinstance(target, list) else last
            if operation["op"] == "remove":
                del target[key]
            else:
                target[key] = operation["value"]
        except (KeyError, IndexError):
            raise UnprocessableError(422, f"nothing is at {operation['path']}") from None
    if seen["kind"] == SERVICE.kind and not seen["spec"]["ports"]:
        raise UnprocessableError(422, "spec.ports: Required value")
    if seen["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
        raise ConflictError(409, "another version")
    return seen
