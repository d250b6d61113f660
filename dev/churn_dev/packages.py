"""Programs that come as Debian packages, installed when missing."""

import os
import shutil
import subprocess
from collections.abc import Iterable

from churn_dev.console import step
from churn_dev.errors import MissingPrerequisite

_PACKAGES = {
    "bash": "bash",
    "buildah": "buildah",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "nft": "nftables",
    "nsenter": "util-linux",
    "promtool": "prometheus",
    "runc": "runc",
    "setsid": "util-linux",
    "sysctl": "procps",
    "unshare": "util-linux",
}
_ADMIN_DIRECTORIES = ["/usr/sbin", "/sbin"]


def missing(programs: Iterable[str]) -> list[str]:
    """Packages of those programs that the machine lacks."""
    return sorted({_PACKAGES[program] for program in programs if shutil.which(program) is None})


def ensure(programs: Iterable[str]) -> None:
    """Installs the packages that are missing, where that is possible.

    Raises:
        MissingPrerequisite: it is not; names the packages.
    """
    _find_admin_programs()
    lacking = missing(programs)
    if not lacking:
        return
    by_hand = MissingPrerequisite(
        f"missing: {', '.join(lacking)}; install with: apt-get install {' '.join(lacking)}"
    )
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise by_hand
    with step(f"installing {', '.join(lacking)}"):
        # A fresh machine has no package lists yet.
        if not _install(lacking) and not (_apt("update") and _install(lacking)):
            raise by_hand


def _find_admin_programs() -> None:
    """Completes PATH: that of a plain `su` lacks the directories of nft, iptables and debootstrap."""
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys([*directories, *_ADMIN_DIRECTORIES]))


def _install(names: list[str]) -> bool:
    return _apt("install", "--yes", "--no-install-recommends", *names)


def _apt(*arguments: str) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
