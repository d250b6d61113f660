"""Where one local cluster's files, links and addresses are; all follow from its name, index and nodes."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from churn_dev.errors import DevError
from churn_dev.paths import STATE

CONTROL_PLANE = "cp"
"""Place of the API server and its companions; the other places are the nodes."""

INDEXES = range(40)


@dataclass(frozen=True)
class Layout:
    """Plan of one cluster.

    Attributes:
        name: what people call it.
        index: what keeps its addresses and links apart from other clusters'; in INDEXES.
        nodes: how many nodes; 0 is an API server alone.
    """

    name: str
    index: int
    nodes: int

    @property
    def directory(self) -> Path:
        return STATE / self.name

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def audit_log(self) -> Path:
        return self.directory / "log" / "audit.log"

    def kubeconfig(self, user: str) -> Path:
        return self.directory / "kubeconfig" / user

    @property
    def network(self) -> IPv4Network:
        """The bridge's own network: host .1, control plane .2, nodes from .11."""
        return IPv4Network(f"10.89.{self.index}.0/24")

    @property
    def pods(self) -> IPv4Network:
        return IPv4Network(f"10.{100 + self.index}.0.0/16")

    @property
    def services(self) -> IPv4Network:
        return IPv4Network(f"10.{160 + self.index}.0.0/16")

    @property
    def host_address(self) -> IPv4Address:
        """This machine as pods and the API server reach it."""
        return self.network[1]

    @property
    def control_plane_address(self) -> IPv4Address:
        return self.network[2]

    @property
    def node_names(self) -> list[str]:
        return [f"node{number}" for number in range(1, self.nodes + 1)]

    @property
    def places(self) -> list[str]:
        """What has a network namespace of its own."""
        return [CONTROL_PLANE, *self.node_names]

    def address(self, place: str) -> IPv4Address:
        if place == CONTROL_PLANE:
            return self.control_plane_address
        return self.network[10 + _number(place)]

    def pod_range(self, node: str) -> IPv4Network:
        """Addresses of the node's pods."""
        return IPv4Network(f"{self.pods.network_address + 256 * _number(node)}/24")

    def node_directory(self, node: str) -> Path:
        return self.directory / node

    def namespace(self, place: str) -> str:
        """Name of the network namespace."""
        return f"churn-{self.name}-{place}"

    @property
    def bridge(self) -> str:
        return f"churn{self.index}"

    def link(self, place: str) -> str:
        """The host's end of the cable; links have at most 15 characters, so the index stands for the name."""
        return f"churn{self.index}-{place}"

    def cgroup(self, node: str) -> str:
        """Root of all that the node runs, relative to each hierarchy."""
        return f"churn-{self.name}-{node}"


def check_name(name: str) -> None:
    """Checks that a cluster can be called so: the name goes into paths, namespaces and control groups.

    Raises:
        DevError: it cannot.
    """
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?", name):
        raise DevError(
            f"cluster name {name!r}: use up to 20 lower-case letters, digits and dashes, a letter first"
        )


def free_index(taken: Collection[int], routed: Iterable[IPv4Network]) -> int:
    """The first index whose addresses neither another cluster nor one of the machine's routes uses.

    Raises:
        DevError: none is left.
    """
    in_use = list(routed)
    for index in INDEXES:
        plan = Layout("", index, 0)
        ranges = (plan.network, plan.pods, plan.services)
        if index not in taken and not any(each.overlaps(route) for each in ranges for route in in_use):
            return index
    raise DevError(
        "no free addresses for another cluster: remove one with `churn-dev cluster down --name NAME`"
    )


def _number(node: str) -> int:
    return int(node.removeprefix("node"))
