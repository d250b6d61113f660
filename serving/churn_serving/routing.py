"""Which loaded model answers a request: an immutable table, swapped whole, that serving.json fills."""

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from churn_serving.decisions import Decision, threshold_of
from churn_serving.errors import (
    BundleError,
    ChurnServingError,
    ConfigInvalidError,
    DigestMismatchError,
    RevisionNotConfiguredError,
)
from churn_serving.model import Model, load_model

_MAX_FILE_BYTES = 1 << 20  # a ConfigMap cannot be larger


class RevisionEntry(Struct, frozen=True):
    """What serving.json says of one revision. Without `decision` the bundle's own threshold holds.

    `max_scoring_millis` is looked at while the revision is loaded.
    """

    weight: Annotated[int, Meta(ge=0)] = 100
    digest: str | None = None
    decision: Decision | None = None
    max_scoring_millis: Annotated[float, Meta(gt=0)] | None = None


class ServingFile(Struct, frozen=True):
    """serving.json. It may name revisions that only other pods hold, and fields of a later operator."""

    model: Annotated[str, Meta(min_length=1)]
    revisions: dict[str, RevisionEntry]


class Failure(Struct, frozen=True):
    """A revision beside others that did not load."""

    revision: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Route:
    """One loaded model in the table.

    Attributes:
        revision: Its name in serving.json; None where a single bundle is served without one.
        weight: Its share of the requests, relative to the other routes'.
    """

    revision: str | None
    weight: int
    threshold: float
    model: Model


@dataclass(frozen=True, slots=True)
class Table:
    """The routes of one model name."""

    name: str
    routes: tuple[Route, ...]

    def choose(self, customer: str | int | None) -> Route:
        """The route that answers: the same for the same customer while the weights stay; None is anybody.

        Weights that are all 0 count as equal: this process holds nothing else to answer with.
        """
        if len(self.routes) == 1:
            return self.routes[0]
        weights = [route.weight for route in self.routes]
        if not any(weights):
            weights = [1] * len(weights)
        key = str(time.perf_counter_ns() if customer is None else customer)
        point = zlib.crc32(key.encode("utf-8", "surrogatepass")) % sum(weights)
        for route, weight in zip(self.routes, weights, strict=True):
            point -= weight
            if point < 0:
                return route
        raise AssertionError("a point below the sum lies in one of the weights")


def read_serving_file(path: Path) -> ServingFile:
    """Parse serving.json.

    Raises:
        ConfigInvalidError: It is missing, too large or not as described.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigInvalidError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigInvalidError(f"{path} is larger than {_MAX_FILE_BYTES} bytes")
    try:
        return msgspec.json.decode(content, type=ServingFile)
    except (ValueError, RecursionError) as error:
        raise ConfigInvalidError(f"{path.name}: {error}") from None


def find_revisions(models_dir: Path) -> list[str]:
    """Names of the directories that hold bundles; hidden ones and a volume's `lost+found` are none.

    Raises:
        ConfigInvalidError: There is none.
    """
    try:
        found = sorted(entry.name for entry in models_dir.iterdir() if entry.is_dir())
    except OSError as error:
        raise ConfigInvalidError(f"{models_dir} cannot be read: {error.strerror}") from None
    revisions = [name for name in found if not name.startswith(".") and name != "lost+found"]
    if not revisions:
        raise ConfigInvalidError(
            f"{models_dir} holds no bundle; each revision's belongs in a directory of its name"
        )
    return revisions


def load_revisions(models_dir: Path, file: ServingFile) -> tuple[dict[str, Model], tuple[Failure, ...]]:
    """Load the bundle of every revision under `models_dir`, each against the digest that the file pins.

    One that fails leaves the others serving.

    Raises:
        RevisionNotConfiguredError: None loads, and the file does not name the first.
        BundleError: None loads, and the first is refused.
    """
    models: dict[str, Model] = {}
    failed: dict[str, ChurnServingError] = {}
    for name in find_revisions(models_dir):
        try:
            _require([name], file)
            entry = file.revisions[name]
            models[name] = load_model(models_dir / name, entry.digest, entry.max_scoring_millis)
        except (BundleError, RevisionNotConfiguredError) as error:
            failed[name] = error
    if not models:
        raise next(iter(failed.values()))
    return models, tuple(Failure(name, error.reason, str(error)) for name, error in failed.items())


def build_table(name: str | None, file: ServingFile, models: Mapping[str, Model]) -> Table:
    """The table of the loaded models as `file` wants it.

    Raises:
        RevisionNotConfiguredError: The file does not name a loaded revision.
        DigestMismatchError: It pins other bytes than those loaded.
        ConfigInvalidError: A decision cannot be computed from the bundle's reference.
    """
    _require(list(models), file)
    routes = []
    for revision, model in models.items():
        entry = file.revisions[revision]
        if entry.digest not in {None, model.digest}:
            raise DigestMismatchError(
                f"revision {revision} is loaded with {model.digest}, pinned is {entry.digest}"
            )
        threshold = (
            threshold_of(entry.decision, model.reference.score)
            if entry.decision
            else model.manifest.threshold
        )
        routes.append(Route(revision, entry.weight, threshold, model))
    return Table(name or file.model, tuple(routes))


def build_single_table(name: str | None, model: Model) -> Table:
    """The table of one bundle served without serving.json."""
    return Table(name or model.manifest.name, (Route(None, 100, model.manifest.threshold, model),))


def _require(revisions: Sequence[str], file: ServingFile) -> None:
    unknown = [name for name in revisions if name not in file.revisions]
    if unknown:
        known = ", ".join(sorted(file.revisions)) or "none"
        raise RevisionNotConfiguredError(
            f"serving.json does not name revision {', '.join(unknown)}; it names {known}"
        )
