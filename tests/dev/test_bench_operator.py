"""The operator's benchmark, small: its counts are those that it promises at any size."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from churn_dev import fleet, kwok
from churn_dev.bench import Figure
from churn_dev.bench_operator import NAMESPACE, Birth, Fleet, restart_of_settled, running
from churn_dev.cluster import LANES
from churn_dev.kubectl import Kubectl
from churn_operator.kinds import CHILD_KINDS

pytestmark = pytest.mark.api

COUNT = 6
ANY_TIME = Birth(children=1e9, available=1e9)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    work = tmp_path_factory.mktemp("bench")
    with kwok.cluster(f"{LANES}-kwok", nodes=2) as cluster, running(cluster, work) as operator:
        yield Fleet(cluster, operator, quiet_seconds=6)


def missed(figures: list[Figure]) -> list[str]:
    """Rows of counts that miss their goal. Times are for a machine that does nothing else."""
    timed = (" ms", " s", " MB")
    return [figure.row() for figure in figures if figure.met is False and not figure.goal.endswith(timed)]


def test_a_fleet_costs_what_it_should_and_stays_as_it_is(small: Fleet):
    figures = [*small.quick_birth(COUNT, ANY_TIME)]
    figures += small.rest(3, COUNT)
    figures += small.repair(1, COUNT)
    figures += small.restart(COUNT)
    assert missed(figures) == []


def test_what_a_client_makes_settled_is_ready_and_a_restart_leaves_it(tmp_path: Path):
    with kwok.cluster(f"{LANES}-kwok-settled", nodes=1, controllers=kwok.FEWEST_CONTROLLERS) as cluster:
        figures = restart_of_settled(cluster, tmp_path, 2, nodes=1, quiet_seconds=3)
        models = Kubectl(cluster.kubeconfig, NAMESPACE).list("churnmodels")
    assert [fleet.is_ready(model) for model in models] == [True, True]
    assert missed(figures) == []


def test_the_floor_makes_a_child_of_every_kind():
    (model,) = fleet.fleet(1)
    assert {kind for kind, _ in fleet.children(model, "team")} == set(CHILD_KINDS)


def test_the_floors_children_have_no_owner_who_would_be_missed():
    (model,) = fleet.fleet(1)
    assert not [child for _, child in fleet.children(model, "team") if "ownerReferences" in child["metadata"]]
