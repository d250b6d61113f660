"""The Pod Security standard `restricted` as a list of checks, after its page in the Kubernetes documents.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
    "secret",
}  # fmt: skip
HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC", "hostUsers")


def breaches(template: Json) -> list[str]:
    """What of a pod template breaks the standard, in words."""
    spec: Json = template["spec"]
    found = [f"{field} is set" for field in HOST_FIELDS if spec.get(field)]
    for volume in spec.get("volumes", ()):
        found += [f"volume type {kind}" for kind in volume.keys() - {"name"} - VOLUMES]
    pod = spec.get("securityContext", {})
    found += [f"pod sets {key}" for key in ("sysctls", "windowsOptions") if key in pod]
    for container in (
        *spec.get("initContainers", ()),
        *spec["containers"],
        *spec.get("ephemeralContainers", ()),
    ):
        found += [f"{container['name']}: {problem}" for problem in _of_container(container, pod)]
    return found


def _of_container(container: Json, pod: Json) -> Iterator[str]:
    own = container.get("securityContext", {})
    effective = pod | own
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "privilege escalation is not forbidden"
    if own.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "capabilities are not all dropped"
    if set(own.get("capabilities", {}).get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "a capability is added"
    if effective.get("runAsNonRoot") is not True or effective.get("runAsUser") == 0:
        yield "may run as root"
    if effective.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "no seccomp profile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if {"seLinuxOptions", "windowsOptions", "appArmorProfile"} & effective.keys():
        yield "options of the platform"
    yield from _of_network(container)


def _of_network(container: Json) -> Iterator[str]:
    if any("hostPort" in port for port in container.get("ports", ())):
        yield "a port of the host"
    if any("host" in handler for handler in _handlers(container)):
        yield "a probe of another host"


def _handlers(container: Json) -> Iterator[Json]:
    probes = [container.get(f"{name}Probe", {}) for name in ("startup", "readiness", "liveness")]
    for probe in (*probes, *container.get("lifecycle", {}).values()):
        yield from (probe[kind] for kind in ("httpGet", "tcpSocket") if kind in probe)
