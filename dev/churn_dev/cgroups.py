"""Control groups of the nodes, on cgroup v1 (one hierarchy a controller) and v2 (one for all)."""

import os
from contextlib import suppress
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")


def create(root: str) -> None:
    """Makes the group `root` for one kubelet: two in the same group would remove each other's pods."""
    for hierarchy in _hierarchies():
        (hierarchy / root).mkdir(exist_ok=True)
    if _unified():
        controllers = (_MOUNT / "cgroup.controllers").read_text().split()
        (_MOUNT / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in controllers))
        return
    for file in _CPUSET_FILES:  # a new cpuset starts empty and takes no process
        (_MOUNT / "cpuset" / root / file).write_text((_MOUNT / "cpuset" / file).read_text())


def remove(root: str) -> bool:
    """Removes the group and all below it; false where a process still lives there."""
    for hierarchy in _hierarchies():
        for group in sorted((hierarchy / root).glob("**/"), reverse=True):
            try:
                group.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return False
    return True


def processes(root: str) -> list[int]:
    """Ids of the processes in the group and all below it; a group may go while it is looked at."""
    found: list[int] = []
    for group, _, _ in os.walk(_hierarchies()[0] / root):
        with suppress(OSError):
            found += map(int, Path(group, "cgroup.procs").read_text().split())
    return found


def _unified() -> bool:
    return (_MOUNT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if _unified():
        return [_MOUNT]
    return [each for each in _MOUNT.iterdir() if each.is_dir() and not each.is_symlink()]
