"""The cluster that the demo and the tests use, whichever way this machine can have one.

`CLUSTER` chooses: `existing` (the current kubeconfig), `kind` (Docker) or `local` (Linux, root). Without it, kind where a
Docker engine answers, else local.
"""

import os
from pathlib import Path
from typing import Protocol

from churn_dev import existing, kind, local
from churn_dev.engine import docker_answers
from churn_dev.errors import DevError
from churn_dev.layout import check_name

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
    """Removes the cluster; one that is there no more is no error, and an existing one is not ours to remove."""
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
        raise DevError(f"CLUSTER={chosen} is not known: use one of {', '.join(_PROVIDERS)}, or leave it unset")
    return "kind" if docker_answers() else "local"
