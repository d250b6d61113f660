"""Other people's servers and clients, each in an environment of its own: their pins and ours do not agree."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from churn_dev.console import step
from churn_dev.paths import ROOT, cache_dir, locked

REQUIREMENTS = ROOT / "dev" / "peers"
"""NAME.in says what is wanted and why, NAME.txt is locked by hash (`make lock`)."""


def environment(name: str) -> Path:
    """The `bin` directory of an environment with exactly what `NAME.txt` locks; made where it is missing.

    Raises:
        CalledProcessError: A package cannot be fetched, or is not the one that was locked.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    locked_as = f"{sys.version_info.major}.{sys.version_info.minor}\n{requirements.read_text()}"
    digest = hashlib.sha256(locked_as.encode()).hexdigest()[:12]
    target = cache_dir() / "peers" / f"{name}-{digest}"
    with locked(target.with_name(f"{name}.lock")):
        if not (target / "complete").exists():
            with step(f"installing {name} beside us"):
                _install(requirements, target)
    return target / "bin"


def _install(requirements: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, target], check=True)
    into = ["--python", str(target / "bin" / "python"), "--require-hashes"]
    subprocess.run([uv, "pip", "sync", "--quiet", *into, requirements], check=True)
    (target / "complete").touch()
