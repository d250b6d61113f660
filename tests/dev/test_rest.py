"""What the operator reads at rest: more than one watch of a kind and one list is a goal missed."""

from dataclasses import replace

import pytest

from churn_dev.audit import Request
from churn_dev.rest import LASTS_SECONDS, reads_at_rest
from churn_operator.kinds import CHURN_MODEL

WATCH = Request("watch", "", "", "", "", 200)
LIST = replace(WATCH, verb="list", resource=CHURN_MODEL.plural)
PAGES = [LIST, *[replace(LIST, continues=True)] * 9]
SECONDS = 600
RENEWED = [
    replace(WATCH, resource=kind)
    for kind, lasts in LASTS_SECONDS.items()
    for _ in range(int(SECONDS // lasts))
]


def met(requests: list[Request], seconds: float = SECONDS) -> bool | None:
    return reads_at_rest(requests, seconds, 1000).met


def test_one_watch_a_kind_and_one_list_in_pages_are_met():
    assert met([*RENEWED, *PAGES])
    assert met([], seconds=3)


@pytest.mark.parametrize("kind", LASTS_SECONDS)
def test_two_watches_of_a_kind_are_seen(kind: str):
    again = [each for each in RENEWED if each.resource == kind]
    assert not met([*RENEWED, *again])


@pytest.mark.parametrize("kind", LASTS_SECONDS)
def test_a_kind_that_is_not_watched_is_seen(kind: str):
    assert not met([each for each in RENEWED if each.resource != kind])


@pytest.mark.parametrize(
    "more",
    [
        [LIST, LIST],
        [replace(LIST, resource="pods")],
        [replace(LIST, verb="get")],
        [replace(WATCH, resource="secrets")],
    ],
)
def test_what_else_is_read_is_seen(more: list[Request]):
    assert not met([*RENEWED, *more])


def test_the_lease_is_left_aside():
    assert met([*RENEWED, replace(LIST, verb="get", resource="leases")])
