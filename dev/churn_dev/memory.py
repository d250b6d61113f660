"""What a process takes."""

_MEBIBYTE = 1024


def resident(status: str) -> float:
    """Resident memory in MB from the text of a /proc/PID/status."""
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(kilobytes) / _MEBIBYTE
