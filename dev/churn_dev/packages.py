"""Programs that come as Debian packages, installed when missing."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from churn_dev.console import step
from churn_dev.errors import MissingPrerequisite
from churn_dev.paths import cache_dir, locked

_PACKAGES = {
    "bash": "bash",
    "buildah": "buildah",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "nft": "nftables",
    "nsenter": "util-linux",
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


def unpack(package: str, program: str) -> Path:
    """A program out of a package that must not be installed, because it would start a service.

    Args:
        package: Debian's name.
        program: path inside the package, such as `usr/bin/promtool`.

    Raises:
        MissingPrerequisite: the package cannot be fetched.
    """
    target = cache_dir() / "packages" / package
    found = target / program
    with locked(target.with_name(f"{package}.lock")):
        if not found.exists():
            with step(f"unpacking {package}"), tempfile.TemporaryDirectory() as work:
                _download(package, Path(work))
                (archive,) = Path(work).glob("*.deb")
                subprocess.run(["dpkg-deb", "--extract", archive, target], check=True)
    return found


def _download(package: str, work: Path) -> None:
    if shutil.which("apt-get") is None:
        raise MissingPrerequisite(f"missing: apt-get, to fetch {package}")
    # apt fetches as a user without rights, who must be able to write here.
    work.chmod(0o777)
    if not _apt("download", package, cwd=work) and not (
        _apt("update") and _apt("download", package, cwd=work)
    ):
        raise MissingPrerequisite(f"missing: {package}; try: apt-get update && apt-get download {package}")


def _find_admin_programs() -> None:
    """Completes PATH: that of a plain `su` lacks the directories of nft, iptables and debootstrap."""
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys([*directories, *_ADMIN_DIRECTORIES]))


def _install(names: list[str]) -> bool:
    return _apt("install", "--yes", "--no-install-recommends", *names)


def _apt(*arguments: str, cwd: Path | None = None) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300", *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, check=False).returncode == 0
