"""The only writer. Each mutating request of the operator is one method here, named for what it does."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog

from churn_operator.caches import Caches, Key
from churn_operator.compare import (
    Path,
    covers,
    foreign_paths,
    is_as_wanted,
    removal,
    stamped,
    was_asked_for,
)
from churn_operator.decide import Plan, name_taken
from churn_operator.desired import Desired
from churn_operator.desired.config_map import entry_digests
from churn_operator.desired.deployment import kept_replicas, with_replicas
from churn_operator.digests import digest_of
from churn_operator.errors import (
    ConflictError,
    NameConflictError,
    NotFoundError,
    OperatorError,
    RefusedError,
    TooManyRequestsError,
    UnprocessableError,
    VanishedError,
)
from churn_operator.kinds import (
    AUTOSCALER,
    CHURN_MODEL,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    POD,
    SERVICE,
    Kind,
)
from churn_operator.names import (
    CONFIG_DIGEST_ANNOTATION,
    DESIRED_ANNOTATION,
    FIELD_MANAGER,
    controller_uid,
)
from churn_operator.observe import Observed, Pod, is_going
from churn_operator.runtime.client import JSON_PATCH, MERGE_PATCH, Client

log = structlog.get_logger()
T = TypeVar("T")

STAGES = (
    (CONFIG_MAP, CONTROLLER_REVISION, NETWORK_POLICY, SERVICE, DISRUPTION_BUDGET),
    (DEPLOYMENT,),  # its pods mount the ConfigMap and are known by the ControllerRevision
    (AUTOSCALER,),  # complains about a Deployment that is not there yet
)
ABSENT = "1"
"""A resourceVersion that no object has any more: applied with it, an absent object is created, and one that
is there answers 409 even though we force."""
MOUNT_SECONDS = 5
"""A pod created this long after the ConfigMap was written has mounted what was written."""
_TELLING = (NameConflictError, UnprocessableError, RefusedError, TooManyRequestsError)


class Writer:
    """Brings the cluster to what is desired. Answers of writes go into the caches."""

    def __init__(self, client: Client, caches: Caches) -> None:
        self._client = client
        self._caches = caches
        self._taken: set[tuple[Kind, str, str]] = set()
        self._altered: dict[tuple[Kind, str, str], tuple[str, str]] = {}
        self._put_back: dict[tuple[Kind, str, str], tuple[str, list[Path]]] = {}

    def forget(self, key: Key) -> None:
        """Drops what is remembered of a ChurnModel that is gone: names come and go for ever."""
        self._taken = {place for place in self._taken if place[1:] != key}
        self._altered = {place: how for place, how in self._altered.items() if place[1:] != key}
        self._put_back = {place: what for place, what in self._put_back.items() if place[1:] != key}

    async def carry_out(self, plan: Plan, desired: Desired, observed: Observed) -> int:
        """Applies what differs, prunes what is not wanted, stamps what must reread its settings.

        Returns:
            How many objects it wrote.

        Raises:
            VanishedError: The ChurnModel is gone.
            NameConflictError: A name is taken by an object of somebody else.
            ApiError: The most telling of what went wrong; the next stages were not begun.
        """
        if _lost(desired, observed):
            await self._confirm(observed)
        if AUTOSCALER not in desired.children:
            await self._prune(desired, observed, AUTOSCALER)  # or it would set the replicas back
        wrote = 0
        for stage in STAGES:
            wanted = [(kind, stamped(desired.children[kind])) for kind in stage if kind in desired.children]
            unsettled = [each for each in wanted if not _is_settled(*each, plan, observed)]
            wrote += sum(await _together(self._bring(*each, plan, observed) for each in unsettled))
        wrote += await self._prune(desired, observed)
        return wrote + await self._refresh_pods(observed, desired.children[CONFIG_MAP])

    async def _confirm(self, observed: Observed) -> None:
        """Reads the ChurnModel: its children go when it goes, and their watches may tell of it sooner."""
        key = (observed.namespace, observed.name)
        try:
            self._caches.models.renew(await self._client.get(CHURN_MODEL, *key))
        except NotFoundError:
            self._caches.models.drop(key, observed.uid)
        present = self._caches.models.get(key)
        if present is None or is_going(present) or present["metadata"]["uid"] != observed.uid:
            raise VanishedError(f"ChurnModel {observed.name} is gone")

    async def _bring(self, kind: Kind, wanted: dict[str, Any], plan: Plan, observed: Observed) -> bool:
        """Makes one child what it should be (stamped). True if that took a write."""
        name = wanted["metadata"]["name"]
        place = (kind, observed.namespace, name)
        seen = self._caches[kind].of((observed.namespace, observed.name)).get(name)
        if seen is None:
            await self._create(kind, _seeded(kind, wanted, plan), observed.uid)
            return True
        if controller_uid(seen) != observed.uid:
            raise NameConflictError(*name_taken(kind.kind, seen))
        asked = was_asked_for(wanted, seen)
        # Before it was asked for, what looks foreign may be our own of yesterday.
        foreign = foreign_paths(seen, wanted) if asked else []
        if foreign and self._put_back.get(place) == (_digest(wanted), foreign):
            foreign = []
        due = not (asked and covers(seen, wanted))
        if foreign:
            try:
                seen, due = await self._evict(kind, seen, foreign, wanted), True
            except ConflictError:
                if not due:  # else what is due may be what keeps it: a Service's type its externalName
                    raise
        if kind is DEPLOYMENT and (replicas := kept_replicas(plan, seen)) is not None:
            # Of the version that was seen: the autoscaler may have moved on since.
            wanted = _at_version(with_replicas(wanted, replicas), seen["metadata"]["resourceVersion"])
            due = due or seen["spec"].get("replicas") == 0
        altered = self._altered.get(place)
        if due and altered and not foreign and altered == _alteration(wanted, seen):
            due = False  # an admission webhook makes of our object what it is: asking again changes nothing
        if due:
            await self._apply(kind, wanted)
        return due or bool(foreign)

    async def _create(self, kind: Kind, wanted: dict[str, Any], uid: str) -> None:
        """Creates a child where the cache has none, without touching one that is there all the same."""
        name = wanted["metadata"]["name"]
        place = (kind, wanted["metadata"]["namespace"], name)
        try:
            if place not in self._taken:
                await self._apply(kind, _at_version(wanted, ABSENT))
                return
        except ConflictError:
            self._taken.add(place)
        try:
            present = await self._client.get(*place)
        except NotFoundError:
            self._taken.discard(place)
            raise
        if controller_uid(present) != uid:
            raise NameConflictError(*name_taken(kind.kind, present))
        self._taken.discard(place)
        # Ours, without the label that caches see it by; and what a revision was accepted with stays as it is.
        recorded = {"data": present["data"]} if kind is CONTROLLER_REVISION else {}
        await self._apply(kind, wanted | recorded)

    async def _apply(self, kind: Kind, wanted: dict[str, Any]) -> None:
        applied = await self._client.apply(kind, wanted, FIELD_MANAGER)
        place = (kind, applied["metadata"]["namespace"], applied["metadata"]["name"])
        self._altered.pop(place, None)
        if not covers(applied, {**wanted, "metadata": {"name": place[2]}}):
            self._altered[place] = _alteration(wanted, applied)
            log.warning(
                "The API server alters what is applied", kind=kind.kind, namespace=place[1], name=place[2]
            )
        self._caches[kind].absorb(applied)

    async def _evict(
        self, kind: Kind, seen: dict[str, Any], paths: list[Path], wanted: dict[str, Any]
    ) -> dict[str, Any]:
        """Removes entries that another manager put into our lists and maps; apply would leave them.

        What is left may be owned by that manager, or by nobody: so the object counts as not asked for any
        more, and is applied next, whatever happens in between.
        """
        log.info("Removing what is not ours", kind=kind.kind, paths=["/".join(map(str, p)) for p in paths])
        place = (seen["metadata"]["namespace"], seen["metadata"]["name"])
        patch = removal(seen, paths, wanted)
        try:
            patched = await self._client.patch(kind, *place, patch, FIELD_MANAGER, content_type=JSON_PATCH)
        except UnprocessableError as error:  # an entry is gone already: the object changed since it was seen
            raise ConflictError(409, error.message) from error
        self._put_back.pop((kind, *place), None)
        if left := foreign_paths(patched, wanted):  # by an admission webhook, each time anew
            self._put_back[(kind, *place)] = (_digest(wanted), left)
            log.warning(
                "The API server puts back what is removed", kind=kind.kind, namespace=place[0], name=place[1]
            )
        self._caches[kind].absorb(patched)
        return patched

    async def _prune(self, desired: Desired, observed: Observed, only: Kind | None = None) -> int:
        """Deletes what is ours and not wanted."""
        unwanted = [
            (kind, obj)
            for kind, obj in observed.owned
            if only in {None, kind}
            and not desired.wants(kind, obj["metadata"]["name"])
            and obj["metadata"]["name"] in self._caches[kind].of((observed.namespace, observed.name))
        ]
        await _together(self._delete(kind, obj["metadata"]) for kind, obj in unwanted)
        return len(unwanted)

    async def _delete(self, kind: Kind, metadata: dict[str, Any]) -> None:
        with contextlib.suppress(NotFoundError):
            await self._client.delete(kind, metadata["namespace"], metadata["name"], metadata["uid"])
        self._caches[kind].drop(metadata["namespace"], metadata["name"], metadata["uid"])

    async def _refresh_pods(self, observed: Observed, config_map: dict[str, Any]) -> int:
        """Makes the kubelets of pods with outdated settings refresh them now, not at their next sync."""
        digests = entry_digests(config_map)
        outdated = [
            (pod, digests[pod.revision])
            for pod in observed.pods
            if pod.config_digest != digests.get(pod.revision, pod.config_digest) and not pod.deleting
        ]
        if not outdated:
            return 0
        written = self._caches[CONFIG_MAP].of((observed.namespace, observed.name)).get(observed.name, {})
        times = [entry["time"] for entry in written.get("managed", ()) if entry["time"]]
        since = datetime.fromisoformat(max(times)) + timedelta(seconds=MOUNT_SECONDS) if times else None
        due = [
            (pod, digest)
            for pod, digest in outdated
            if since is None or datetime.fromisoformat(pod.created) <= since
        ]
        await _together(self._stamp_pod(observed.namespace, pod, digest) for pod, digest in due)
        return len(due)

    async def _stamp_pod(self, namespace: str, pod: Pod, digest: str) -> None:
        body = {"metadata": {"uid": pod.uid, "annotations": {CONFIG_DIGEST_ANNOTATION: digest}}}
        with contextlib.suppress(NotFoundError):  # gone, and its successor reads the new settings
            patched = await self._client.patch(
                POD, namespace, pod.name, body, FIELD_MANAGER, content_type=MERGE_PATCH
            )
            self._caches[POD].absorb(patched)

    async def write_status(self, observed: Observed, status: dict[str, Any]) -> None:
        body = CHURN_MODEL.named(observed.namespace, observed.name) | {"status": status}
        body["metadata"]["uid"] = observed.uid  # not onto a ChurnModel that took the name since
        try:
            written = await self._client.apply(CHURN_MODEL, body, FIELD_MANAGER, subresource="status")
        except NotFoundError:
            self._caches.models.drop((observed.namespace, observed.name), observed.uid)
            raise VanishedError(f"ChurnModel {observed.name} is gone") from None
        self._caches.models.renew(written)


def _is_settled(kind: Kind, wanted: dict[str, Any], plan: Plan, observed: Observed) -> bool:
    """Whether a child (stamped) needs no write, as it was seen: nearly all do not, and get no task."""
    name = wanted["metadata"]["name"]
    seen = next((obj for of, obj in observed.owned if of is kind and obj["metadata"]["name"] == name), None)
    if seen is None or not is_as_wanted(seen, wanted):
        return False
    asleep = kind is DEPLOYMENT and seen["spec"].get("replicas") == 0
    return not (asleep and kept_replicas(plan, seen))


def _lost(desired: Desired, observed: Observed) -> bool:
    """Whether a child is missing that was there when the status was last written."""
    reported = observed.model["status"].get("observedGeneration") == observed.generation
    present = {(kind, obj["metadata"]["name"]) for kind, obj in observed.owned}
    wanted = ((kind, child["metadata"]["name"]) for kind, child in desired.children.items())
    return reported and any(child not in present for child in wanted)


def _seeded(kind: Kind, wanted: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """A Deployment to be born with the autoscaler's minimum: the autoscaler itself first looks after 15 s.

    One replica is the API server's own default, and left to it.
    """
    if kind is DEPLOYMENT and plan.replicas is None and plan.needed != 1:
        return with_replicas(wanted, plan.needed)
    return wanted


def _at_version(wanted: dict[str, Any], version: str) -> dict[str, Any]:
    """`wanted`, to be taken only where the object is of that version."""
    return wanted | {"metadata": wanted["metadata"] | {"resourceVersion": version}}


def _alteration(wanted: dict[str, Any], seen: dict[str, Any]) -> tuple[str, str]:
    """Digests of what was asked for and of what that became, bookkeeping aside."""
    content = {key: value for key, value in seen.items() if key not in {"metadata", "status", "managed"}}
    return _digest(wanted), digest_of(content)


def _digest(wanted: dict[str, Any]) -> str:
    return str(wanted["metadata"]["annotations"][DESIRED_ANNOTATION])


async def _together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Runs all to their end, then raises the most telling error."""
    waiting = list(coroutines)
    results = await asyncio.gather(*waiting, return_exceptions=True) if waiting else []
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise min(errors, key=_untold)
    return [result for result in results if not isinstance(result, BaseException)]


def _untold(error: BaseException) -> int:
    """Rank of an error: a bug first, then what only people can mend, then what passes."""
    if not isinstance(error, OperatorError):
        return -1
    return next((rank for rank, kind in enumerate(_TELLING) if isinstance(error, kind)), len(_TELLING))
