"""What the operator knows of the cluster, and how one ChurnModel's part of it is put together."""

from typing import Any, Protocol

from churn_operator.kinds import CHILD_KINDS, CONTROLLER_REVISION, POD, Kind
from churn_operator.names import MODEL_LABEL, controller_uid
from churn_operator.observe import Observed, trim, trim_model, trim_pod
from churn_operator.runtime.client import Client
from churn_operator.runtime.reflector import Reflector

Key = tuple[str, str]
"""Namespace and name of a ChurnModel."""


class Changed(Protocol):
    """Is told of a ChurnModel that wants a pass; `later` where nothing is known to have happened to it."""

    def __call__(self, key: Key, /, *, later: bool = False) -> None: ...


class Models:
    """The ChurnModels, as kopf and the audit bring them."""

    def __init__(self, changed: Changed) -> None:
        self._models: dict[Key, dict[str, Any]] = {}
        self._changed = changed

    def get(self, key: Key) -> dict[str, Any] | None:
        return self._models.get(key)

    def all(self) -> tuple[dict[str, Any], ...]:
        """Every ChurnModel."""
        return tuple(self._models.values())

    def uids(self) -> dict[Key, str]:
        """The uid of each ChurnModel."""
        return {key: model["metadata"]["uid"] for key, model in self._models.items()}

    def versions(self) -> dict[Key, int]:
        """The version of each ChurnModel."""
        return {key: _version(model) for key, model in self._models.items()}

    def touch(self) -> None:
        """Every ChurnModel wants a pass, in case something was lost; a settled one writes nothing."""
        for key in self._models:
            self._changed(key, later=True)

    def put(self, obj: dict[str, Any], *, listed: bool = False) -> None:
        """A ChurnModel as it is now, `listed` among all; one older than what is known changes nothing."""
        fresh = trim_model(obj)
        key = (fresh["metadata"]["namespace"], fresh["metadata"]["name"])
        known = self._models.get(key)
        if known and _version(known) >= _version(fresh):
            return  # of the same name, perhaps: kopf tells of each object in its own time
        self._models[key] = fresh
        if not known or _without_version(known) != _without_version(fresh):
            self._changed(key, later=listed)

    def renew(self, obj: dict[str, Any]) -> None:
        """A known ChurnModel as an answer tells of it: one that is unknown by now was deleted meanwhile."""
        if (obj["metadata"]["namespace"], obj["metadata"]["name"]) in self._models:
            self.put(obj)

    def drop(self, key: Key, uid: str | None = None) -> None:
        """The ChurnModel is gone; with `uid`, only if it is still that one."""
        known = self._models.get(key)
        if known and uid in {None, known["metadata"]["uid"]}:
            del self._models[key]
            self._changed(key)


class Caches:
    """ChurnModels, their children and their pods."""

    def __init__(self, client: Client, namespace: str | None, changed: Changed) -> None:
        self.models = Models(changed)
        self._changed = changed
        self._reflectors = {
            kind: Reflector(
                client,
                kind,
                namespace=namespace,
                owner_label=MODEL_LABEL,
                trim=trim_pod if kind is POD else trim,
                changed=self._child_changed,
                packed=kind is not POD,
            )
            for kind in (*CHILD_KINDS, POD)
        }

    def __getitem__(self, kind: Kind) -> Reflector:
        return self._reflectors[kind]

    @property
    def reflectors(self) -> tuple[Reflector, ...]:
        return tuple(self._reflectors.values())

    def _child_changed(self, key: Key) -> None:
        """What the first lists bring is no change: each ChurnModel is looked at once they are whole."""
        self._changed(key, later=not all(reflector.synced.is_set() for reflector in self.reflectors))

    async def synced(self) -> None:
        """Waits until every kind was listed once."""
        for reflector in self.reflectors:
            await reflector.synced.wait()

    def observe(self, key: Key, service_account: dict[str, Any] | None = None) -> Observed | None:
        """One ChurnModel and what belongs to it now; None if it is gone."""
        model = self.models.get(key)
        if model is None:
            return None
        found = {kind: self[kind].of(key) for kind in CHILD_KINDS}
        return Observed(
            model=model,
            children={kind: objects[key[1]] for kind, objects in found.items() if key[1] in objects},
            owned=tuple(
                (kind, obj)
                for kind, objects in found.items()
                for obj in objects.values()
                if controller_uid(obj) == model["metadata"]["uid"]
            ),
            revisions=tuple(
                obj
                for obj in found[CONTROLLER_REVISION].values()
                if controller_uid(obj) == model["metadata"]["uid"]
            ),
            pods=tuple(obj["pod"] for obj in self[POD].of(key).values()),
            service_account=service_account,
        )


def _version(obj: dict[str, Any]) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _without_version(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
    return {**obj, "metadata": metadata}
