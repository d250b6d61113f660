"""Where things lie: the sources of this member, the cache, the state of running clusters."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The root of the repository."""

TOOL_SOURCES = ROOT / "dev" / "tools"
"""One folder per tool family, each with its go.mod and go.sum."""

STATE = Path("/tmp/churn-dev")
"""One folder per running cluster. Short on purpose: a Unix socket's path has at most 107 characters."""


def cache_dir() -> Path:
    """Directory for what is expensive to make and safe to delete: tools, base images."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "churn-dev"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path` against every other process that asks for it; its holder may delete it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Who waited for a file that its holder deleted holds nothing: the next one makes a new file.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return
