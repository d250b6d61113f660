"""What a node's parts are told."""

import tomllib

import pytest

from churn_dev import node_config
from churn_dev.layout import Layout

_LAYOUT = Layout("sample", 4, 2)


def test_pods_get_addresses_of_the_range_that_is_routed_to_their_node():
    network = node_config.pod_network(_LAYOUT, "node2")
    assert f"'subnet': '{_LAYOUT.pod_range('node2')}'" in str(network)


@pytest.mark.parametrize(
    "field", ["address", "cgroupRoot", "containerRuntimeEndpoint", "podLogsDir", "tlsCertFile"]
)
def test_two_kubelets_share_nothing_that_is_one_machines_own(field: str):
    first, second = (node_config.kubelet_config(_LAYOUT, node) for node in _LAYOUT.node_names)
    assert first[field] != second[field]


def test_containerd_listens_where_the_kubelet_and_the_image_loader_look():
    config = tomllib.loads(node_config.containerd_config(_LAYOUT, "node1"))
    listening = config["grpc"]["address"]
    assert node_config.kubelet_config(_LAYOUT, "node1")["containerRuntimeEndpoint"] == f"unix://{listening}"
    assert str(node_config.socket(_LAYOUT, "node1")) == listening


def test_two_containerds_share_no_directory_on_disk_and_no_socket():
    first, second = (
        tomllib.loads(node_config.containerd_config(_LAYOUT, node)) for node in _LAYOUT.node_names
    )
    assert first["root"] != second["root"]
    assert first["grpc"] != second["grpc"]
    assert first["ttrpc"] != second["ttrpc"]


def test_kube_proxy_tells_pods_of_the_cluster_from_strangers():
    assert node_config.kube_proxy_config(_LAYOUT, "node1")["clusterCIDR"] == str(_LAYOUT.pods)
