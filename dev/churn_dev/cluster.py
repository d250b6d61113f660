"""The cluster that the demo and the tests use, whichever way this machine can have one.

`CLUSTER` chooses: `existing` (the current kubeconfig), `kind` (Docker) or `local` (Linux, root).
Without it, kind where a Docker engine answers, else local.
"""

import os
from pathlib import Path
from typing import Protocol

from churn_dev import existing, kind, local, tools
from churn_dev.builder import docker_answers
from churn_dev.errors import DevError
from churn_dev.kubectl import Kubectl, KubectlError, condition
from churn_dev.layout import check_name
from churn_dev.local import LocalCluster
from churn_dev.parts import recorded

LANES = os.environ.get("CHURN_TEST_CLUSTERS", "test")
"""What names of the tests' clusters begin with; another one lets two checkouts test at once."""

GOOD = ("running", "Ready")
"""States that nobody needs to look into."""

_PROVIDERS = ("existing", "kind", "local")


class Cluster(Protocol):
    """A cluster that answers."""

    @property
    def name(self) -> str: ...

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator."""

    @property
    def audit_log(self) -> Path | None:
        """The API server's, at Metadata level; None where it is out of reach."""

    @property
    def host_address(self) -> str:
        """This machine as pods and the API server reach it."""

    def load_image(self, name: str) -> None:
        """Brings an image from the builder's store to every node."""


def prepare(nodes: int = 2) -> None:
    """Installs and builds all that `up` needs, which it else does itself.

    Raises:
        MissingPrerequisite: the machine lacks something; the message says what to install.
    """
    match provider():
        case "existing":
            tools.paths(["kubectl", "helm"])
        case "kind":
            tools.paths(kind.PROGRAMS)
        case _:
            local.prepare(nodes)
            tools.paths(["kubectl", "helm"])


def up(name: str = "dev", nodes: int = 2) -> Cluster:
    """Brings up a cluster, or what is missing of it; one that is up already costs a look.

    Args:
        name: several can run at once under different names.
        nodes: how many; 0 is an API server with its controllers alone.

    Raises:
        DevError: it cannot be; the message says what to do.
    """
    check_name(name)
    match provider():
        case "existing":
            return existing.ExistingCluster()
        case "kind":
            return kind.up(name, nodes)
        case _:
            return local.up(name, nodes)


def find(name: str = "dev") -> Cluster:
    """The cluster of that name that was brought up before.

    Raises:
        DevError: there is none.
    """
    found: Cluster | None
    match provider():
        case "existing":
            found = existing.ExistingCluster()
        case "kind":
            found = kind.find(name)
        case _:
            found = local.find(name)
    if found is None:
        raise DevError(f"no cluster is called {name}: `churn-dev cluster up --name {name}` makes one")
    return found


def down(name: str = "dev") -> None:
    """Removes the cluster; one that is gone is no error, and an existing one is not ours to remove."""
    match provider():
        case "existing":
            return
        case "kind":
            kind.down(name)
        case _:
            local.down(name)


def provider() -> str:
    """The way in which this machine has its cluster.

    Raises:
        DevError: `CLUSTER` names none.
    """
    chosen = os.environ.get("CLUSTER", "")
    if chosen in _PROVIDERS:
        return chosen
    if chosen:
        raise DevError(
            f"CLUSTER={chosen} is not known: use one of {', '.join(_PROVIDERS)}, or leave it unset"
        )
    return "kind" if docker_answers() else "local"


def status(cluster: Cluster) -> dict[str, str]:
    """State of each part, where they are ours to see, and of each node."""
    parts = recorded(cluster.layout.directory) if isinstance(cluster, LocalCluster) else []
    states = {part.name: "running" if part.pid else "stopped" for part in parts}
    try:
        nodes = Kubectl(cluster.kubeconfig).list("nodes")
    except KubectlError as error:
        return states | {"API": str(error).splitlines()[-1]}
    ready = {each["metadata"]["name"]: condition(each, "Ready").get("status") == "True" for each in nodes}
    return (
        states
        | {"API": "running"}
        | {f"node {name}": "Ready" if good else "not Ready" for name, good in ready.items()}
    )
