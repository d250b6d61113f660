"""Files that are mounted from a Secret or ConfigMap, followed: a change holds without a restart."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from churn_serving.errors import ChurnServingError
from churn_serving.logs import log

_Value = TypeVar("_Value")
Stamp = tuple[int, int, int]


class Mounted(Generic[_Value]):
    """What files said when they were last valid.

    Attributes:
        name: Of the files, in logs, metrics and the readiness page.
        value: What they said.
        refused: Whether they now lie there with something else, which is not valid.
        changes: How many were applied and refused.
    """

    def __init__(self, name: str, paths: Sequence[Path], read: Callable[[], _Value]) -> None:
        """Raises: ChurnServingError: As `read` does: at the start there is nothing to fall back to."""
        self.name, self._paths, self._read = name, paths, read
        self.refused = False
        self.changes = Counter({"applied": 0, "refused": 0})
        self._seen = self._stamps()  # before reading: what changes meanwhile is seen at the next look
        self.value = read()

    def look(self) -> None:
        """Take what the files say now, if they changed; what is not valid leaves all as it was."""
        seen = self._stamps()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self.value = self._read()
        except Exception as error:  # noqa: BLE001 (whatever a file holds, it and the others are followed on)
            self.refused = True
            self.changes["refused"] += 1
            message = str(error) if isinstance(error, ChurnServingError) else type(error).__name__
            log.error("file refused, the previous one holds", file=self.name, message=message)
            return
        self.refused = False
        self.changes["applied"] += 1
        log.info("file applied", file=self.name)

    def _stamps(self) -> list[Stamp | None]:
        return [stamp_of(path) for path in self._paths]


async def follow_mounted(files: Iterable[Mounted[object]], seconds: float) -> None:
    """Look at each again and again, for ever."""
    while True:
        await asyncio.sleep(seconds)
        for each in files:
            each.look()


def stamp_of(path: Path) -> Stamp | None:
    """What changes when the file does; None where there is none.

    Kubernetes swaps a symbolic link to replace a mounted file, so its inode and time are those of the target.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 (once a second for ever: no Path of it is needed)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
