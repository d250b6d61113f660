"""What a process takes."""

import os
from pathlib import Path

_MEBIBYTE = 1024


def resident(status: str) -> float:
    """Resident memory in MB from the text of a /proc/PID/status."""
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(kilobytes) / _MEBIBYTE


def cpu_seconds(pid: int) -> float:
    """What a process has had of the cores since it started: other load adds less to it than to time."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
