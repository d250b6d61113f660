"""The cluster of the current kubeconfig, which someone else runs."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from churn_dev.console import say
from churn_dev.errors import DevError
from churn_dev.kubectl import Kubectl


@dataclass(frozen=True)
class ExistingCluster:
    """What the current context leads to."""

    name: str = "existing"
    audit_log: Path | None = None

    @property
    def kubeconfig(self) -> Path:
        """The first file of KUBECONFIG, else the usual one.

        Raises:
            DevError: it is not there.
        """
        first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        path = Path(first) if first else Path.home() / ".kube" / "config"
        if not path.exists():
            raise DevError(f"CLUSTER=existing needs a kubeconfig, and {path} is not there: set KUBECONFIG")
        return path

    @property
    def host_address(self) -> str:
        """The address from which this machine reaches the API server."""
        server = Kubectl(self.kubeconfig).run(
            "config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"
        )
        url = urlsplit(server)
        with socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM
        ) as probe:  # connecting a datagram socket sends nothing
            probe.connect((url.hostname, url.port or 443))
            address: str = probe.getsockname()[0]
        return address

    def load_image(self, name: str) -> None:
        """Says that the nodes must get the image themselves: they are out of reach."""
        say(f"an existing cluster's nodes pull {name} themselves: push it to where they look for it")
