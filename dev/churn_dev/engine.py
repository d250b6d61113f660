"""The container engine of a laptop, where one runs."""

import shutil
import subprocess
from functools import cache


@cache
def docker_answers() -> bool:
    """Whether a Docker engine runs here; its client alone is not enough."""
    if shutil.which("docker") is None:
        return False
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
