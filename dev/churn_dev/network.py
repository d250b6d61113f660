"""Links, addresses and routes of one local cluster: a bridge with a cable into each place's namespace."""

import json
from ipaddress import IPv4Network
from pathlib import Path

from churn_dev import programs
from churn_dev.layout import CONTROL_PLANE, Layout

_NAMESPACES = Path("/run/netns")


def connect(layout: Layout) -> None:
    """Makes the bridge, the places' namespaces and all routes between them."""
    _ip("link", "add", layout.bridge, "type", "bridge")
    _ip("address", "add", f"{layout.host_address}/{layout.network.prefixlen}", "dev", layout.bridge)
    _ip("link", "set", layout.bridge, "up")
    for place in layout.places:
        _connect_place(layout, place)
    for node in layout.node_names:
        others = [place for place in layout.places if place != node]
        _route(layout, str(layout.pod_range(node)), node, others)
    if layout.nodes:
        # Cluster addresses of services lead through one node's kube-proxy.
        _route(layout, str(layout.services), layout.node_names[0], [CONTROL_PLANE])


def disconnect(layout: Layout) -> None:
    """Removes them; what is gone already is no error. Routes go with their links."""
    # Links first: those of a namespace vanish some time after it, perhaps between our look and our delete.
    for link in [*map(layout.link, layout.places), layout.bridge]:
        if Path("/sys/class/net", link).exists():
            _ip("link", "delete", link)
    for namespace in map(layout.namespace, layout.places):
        if (_NAMESPACES / namespace).exists():
            _ip("netns", "delete", namespace)


def connected(layout: Layout) -> bool:
    """Whether the namespaces are there, which a reboot removes."""
    return all((_NAMESPACES / layout.namespace(place)).exists() for place in layout.places)


def inside(layout: Layout, place: str, *command: str) -> tuple[str, ...]:
    """The command as it runs in the place's network.

    `ip netns exec` would mount a fresh /sys and hide the cgroups: nsenter keeps them.
    """
    return ("nsenter", f"--net={_NAMESPACES / layout.namespace(place)}", *command)


def routed() -> list[IPv4Network]:
    """Networks that this machine routes, the default route aside."""
    routes = json.loads(_ip("-json", "-4", "route", "show", "table", "all"))
    targets = {route["dst"] for route in routes if route.get("type", "unicast") == "unicast"}
    return [IPv4Network(target) for target in targets - {"default"}]


def _connect_place(layout: Layout, place: str) -> None:
    namespace, link = layout.namespace(place), layout.link(place)
    _ip("netns", "add", namespace)
    _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    _ip("link", "set", link, "master", layout.bridge, "up")
    _ip("-n", namespace, "link", "set", "lo", "up")
    _ip(
        "-n",
        namespace,
        "address",
        "add",
        f"{layout.address(place)}/{layout.network.prefixlen}",
        "dev",
        "eth0",
    )
    _ip("-n", namespace, "link", "set", "eth0", "up")
    _ip("-n", namespace, "route", "add", "default", "via", str(layout.host_address))
    programs.output(*inside(layout, place, "sysctl", "-qw", "net.ipv4.ip_forward=1"))


def _route(layout: Layout, target: str, node: str, places: list[str]) -> None:
    via = ("via", str(layout.address(node)))
    _ip("route", "replace", target, *via)
    for place in places:
        _ip("-n", layout.namespace(place), "route", "add", target, *via)


def _ip(*arguments: str) -> str:
    return programs.output("ip", *arguments)
