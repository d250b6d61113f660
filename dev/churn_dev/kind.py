"""A cluster by kind, where a Docker engine runs. Thin: kind does the work."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from churn_dev import programs, tools
from churn_dev.console import step
from churn_dev.control_plane import AUTOSCALING
from churn_dev.kubectl import Kubectl
from churn_dev.paths import cache_dir

PROGRAMS = ("kubectl", "helm", "kind")


@dataclass(frozen=True)
class KindCluster:
    """A cluster whose nodes are Docker containers."""

    name: str
    audit_log: Path | None = None

    @property
    def kubeconfig(self) -> Path:
        return _kubeconfig(self.name)

    @property
    def host_address(self) -> str:
        """The gateway of kind's Docker network."""
        template = "{{range .IPAM.Config}}{{.Gateway}} {{end}}"
        gateways = programs.output("docker", "network", "inspect", "kind", f"--format={template}").split()
        return next(each for each in gateways if "." in each)

    def load_image(self, name: str) -> None:
        """Brings an image from Docker's store to every node."""
        with step(f"loading {name}"):
            _kind("load", "docker-image", name, "--name", self.name)


def up(name: str, nodes: int) -> KindCluster:
    """Brings the cluster up, with a control plane beside its nodes."""
    if name not in _names():
        with step(f"starting cluster {name} with kind"):
            config = yaml.safe_dump(configuration(nodes))
            kubeconfig = str(_kubeconfig(name))
            _kind(
                "create",
                "cluster",
                "--name",
                name,
                "--kubeconfig",
                kubeconfig,
                "--wait=180s",
                "--config=-",
                stdin=config,
            )
    Kubectl(_kubeconfig(name)).run("get", "--raw=/readyz")
    return KindCluster(name)


def find(name: str) -> KindCluster | None:
    """The cluster of that name."""
    return KindCluster(name) if name in _names() else None


def down(name: str) -> None:
    """Removes the cluster."""
    if name in _names():
        with step(f"removing cluster {name}"):
            _kind("delete", "cluster", "--name", name, "--kubeconfig", str(_kubeconfig(name)))
        _kubeconfig(name).unlink(missing_ok=True)


def configuration(nodes: int) -> dict[str, object]:
    """What kind is to make: a control plane, that many workers, autoscalers as quick as the local cluster's.

    The nodes' image is the one that the pinned kind names, by digest.
    """
    patch = {
        "kind": "ClusterConfiguration",
        "apiServer": {
            "extraArgs": {"enable-admission-plugins": "NodeRestriction,OwnerReferencesPermissionEnforcement"}
        },
        "controllerManager": {"extraArgs": AUTOSCALING},
    }
    roles = ["control-plane", *["worker"] * nodes]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": role} for role in roles],
        "kubeadmConfigPatches": [yaml.safe_dump(patch)],
    }


def _names() -> list[str]:
    return _kind("get", "clusters").split()


def _kind(*arguments: str, stdin: str | None = None) -> str:
    return programs.output(tools.path("kind"), *arguments, stdin=stdin)


def _kubeconfig(name: str) -> Path:
    directory = cache_dir() / "kind"
    directory.mkdir(parents=True, exist_ok=True)
    return directory / name
