"""Addresses and names of several clusters on one machine."""

from ipaddress import IPv4Network
from itertools import combinations

import pytest

from churn_dev.errors import DevError
from churn_dev.layout import INDEXES, Layout, check_name, free_index


def _ranges(layout: Layout) -> list[IPv4Network]:
    return [layout.network, layout.pods, layout.services]


def test_no_range_of_any_cluster_overlaps_another():
    ranges = [each for index in INDEXES for each in _ranges(Layout("x", index, 2))]
    assert not [pair for pair in combinations(ranges, 2) if pair[0].overlaps(pair[1])]


def test_every_place_has_an_address_of_its_own_in_the_clusters_network():
    layout = Layout("x", 3, 9)
    addresses = {layout.address(place) for place in layout.places} | {layout.host_address}
    assert len(addresses) == len(layout.places) + 1
    assert all(address in layout.network for address in addresses)


def test_nodes_share_no_pod_address():
    layout = Layout("x", 3, 9)
    ranges = [layout.pod_range(node) for node in layout.node_names]
    assert not [pair for pair in combinations(ranges, 2) if pair[0].overlaps(pair[1])]
    assert all(each.subnet_of(layout.pods) for each in ranges)


def test_names_of_links_fit_the_kernels_15_characters():
    layout = Layout("a-name-of-20-letters", INDEXES[-1], 9)
    assert max(len(layout.link(place)) for place in layout.places) <= 15


def test_paths_of_sockets_fit_the_kernels_107_characters():
    layout = Layout("a-name-of-20-letters", INDEXES[-1], 9)
    longest = layout.node_directory("node9") / "kubelet/device-plugins/kubelet.sock"
    assert len(str(longest)) <= 107


def test_a_new_cluster_takes_the_first_free_index():
    assert free_index([0, 2], []) == 1


@pytest.mark.parametrize("route", ["10.89.0.0/24", "10.100.7.0/24", "10.160.0.0/16", "10.89.0.0/30"])
def test_an_index_whose_addresses_the_machine_routes_elsewhere_is_passed_over(route: str):
    assert free_index([], [IPv4Network(route)]) == 1


def test_when_no_index_is_left_the_error_says_how_to_free_one():
    with pytest.raises(DevError, match="churn-dev cluster down"):
        free_index(INDEXES, [])


@pytest.mark.parametrize("name", ["dev", "test-2", "a"])
def test_a_plain_name_is_taken(name: str):
    check_name(name)


@pytest.mark.parametrize("name", ["", "Dev", "2nd", "dev-", "../etc", "a" * 21, "a/b", "a\n"])
def test_a_name_unfit_for_paths_and_links_is_refused(name: str):
    with pytest.raises(DevError, match="cluster name"):
        check_name(name)
