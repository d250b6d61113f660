"""What kind is asked to make."""

import yaml

from churn_dev import kind


def test_kind_makes_a_control_plane_beside_the_nodes():
    nodes = kind.configuration(2)["nodes"]
    assert nodes == [{"role": "control-plane"}, {"role": "worker"}, {"role": "worker"}]


def test_without_nodes_kind_makes_the_control_plane_alone():
    assert kind.configuration(0)["nodes"] == [{"role": "control-plane"}]


def test_kinds_autoscalers_are_as_quick_as_the_local_clusters():
    (patch,) = kind.configuration(2)["kubeadmConfigPatches"]
    arguments = yaml.safe_load(patch)["controllerManager"]["extraArgs"]
    assert arguments["horizontal-pod-autoscaler-sync-period"] == "5s"
