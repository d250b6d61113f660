"""What the operator may read while nothing happens: one watch of each kind, renewed, and one list."""

from collections import Counter
from collections.abc import Iterable

from churn_dev.audit import Request
from churn_dev.bench import Figure
from churn_operator import audit, handlers
from churn_operator.kinds import CHILD_KINDS, CHURN_MODEL, LEASE, POD
from churn_operator.runtime import client

LASTS_SECONDS = {
    **{kind.plural: client.WATCH_SECONDS for kind in (*CHILD_KINDS, POD)},
    CHURN_MODEL.plural: handlers.WATCH_SECONDS,
}
"""How long the operator asks a watch of each kind to last; then it opens the next."""
PAUSE_SECONDS = 5.0
"""At most between two watches of a kind."""
SOONEST_LIST_SECONDS = 0.9 * audit.PERIOD_SECONDS


def reads_at_rest(requests: Iterable[Request], seconds: float, count: int) -> Figure:
    """Judges what was read of the API server in so many seconds; what only ended in them counts too.

    A watch counts where it ends. Two of a kind side by side would end twice as often, and one that is not
    there never.
    """
    reads = [each for each in requests if not each.is_write and each.resource != LEASE.plural]
    watches = Counter(each.resource for each in reads if each.verb == "watch")
    pages = [each for each in reads if each.verb == "list" and each.resource == CHURN_MODEL.plural]
    lists = sum(not page.continues for page in pages)
    others = Counter(str(each) for each in reads if each.verb != "watch" and each not in pages)
    odd = [kind for kind in watches.keys() | LASTS_SECONDS if not _is_one(kind, watches[kind], seconds)]
    detail = [f"{watches.total()} renewals of watches", f"{lists} lists in {len(pages)} pages"]
    detail += [f"{number} {which}" for which, number in sorted(others.items())]
    detail += [f"not one watch of {kind}: {watches[kind]} ended" for kind in sorted(odd)]
    most = max(1, int(seconds // SOONEST_LIST_SECONDS))
    return Figure(
        f"reads at rest, {count:,} settled, {seconds:.0f} s", f"one watch a kind, {most} list",
        "; ".join(detail), not odd and not others and lists <= most,
    )  # fmt: skip


def _is_one(kind: str, ended: int, seconds: float) -> bool:
    """Whether so many ends are those of one watch, and the next, and the next."""
    if kind not in LASTS_SECONDS:
        return False
    lasts = LASTS_SECONDS[kind]
    return seconds // (lasts + PAUSE_SECONDS) <= ended <= seconds // lasts + 1
