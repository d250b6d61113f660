"""Long-running programs of a cluster: started so that they outlive this process, stopped one by one.

Each is a session of its own whose leader's identity is on disk, so that any later process can stop it.
"""

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from churn_dev.errors import DevError
from churn_dev.kubectl import wait_until

_STATE_FIELD, _START_FIELD = 0, 19  # of /proc/PID/stat, counted behind the program's name (proc(5))

# The leader writes its own id, then becomes the program: nobody is left who must wait for it.
_LAUNCH = 'echo $$ > "$0.new" && mv "$0.new" "$0" && exec "$@"'


@dataclass(frozen=True)
class Part:
    """One program of a cluster.

    Attributes:
        name: as people say it, for example `kube-apiserver` or `node1/kubelet`.
        command: program and arguments.
        directory: the cluster's; its `pids` and `log` are written here.
        within: the part whose first child's namespaces it enters; None stays in this process's.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    within: "Part | None" = None

    @property
    def log(self) -> Path:
        return self.directory / "log" / f"{self._file}.log"

    @property
    def pid(self) -> int | None:
        """Id of the running session's leader; None where it does not run."""
        try:
            pid, started = self._record.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _start_time(int(pid)) == started else None

    def start(self) -> None:
        """Starts it unless it runs."""
        if self.pid is not None:
            return
        launched = self.directory / f"launched.{self._file}"
        launched.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            subprocess.run(
                ["setsid", "--fork", "sh", "-c", _LAUNCH, str(launched), *self._entry(), *self.command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, check=True,
            )  # fmt: skip
        wait_until(launched.exists, f"{self.name} to be launched")
        pid = int(launched.read_text())
        self._record.write_text(f"{pid} {_start_time(pid)}")
        launched.unlink()

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Sends the signal to the whole session and waits until it is gone, and its first child with it.

        Where that is the init of namespaces, the kernel ends all others in them before it.
        Killed by default: asked politely, an API server takes up to a minute, and nothing here needs that.
        """
        alive = [(pid, begun) for pid in (self.pid, self.child) if pid and (begun := _start_time(pid))]
        self.signal(how)
        wait_until(lambda: not any(_start_time(pid) == begun for pid, begun in alive), f"{self.name} to end")

    def signal(self, which: signal.Signals) -> None:
        """Sends a signal, for example SIGSTOP or SIGCONT, to the whole session, where it runs."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.killpg(pid, which)

    def require(self) -> None:
        """Checks that it runs.

        Raises:
            DevError: it ended; gives its last words and its log.
        """
        if self.pid is None:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            raise DevError(f"{self.name} ended: {lines[-1] if lines else 'without a word'} (see {self.log})")

    @property
    def child(self) -> int | None:
        """Id of its first child, which of a holder of namespaces is their init."""
        if (pid := self.pid) is None:
            return None
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return int(children[0]) if children else None

    def _entry(self) -> list[str]:
        if self.within is None:
            return []
        if (child := self.within.child) is None:
            raise DevError(f"{self.name} needs {self.within.name}, which does not run")
        return ["nsenter", f"--target={child}", "--net", "--mount", "--pid"]

    @property
    def _file(self) -> str:
        return self.name.replace("/", ".")

    @property
    def _record(self) -> Path:
        return self.directory / "pids" / self._file


def recorded(directory: Path) -> list[Part]:
    """The parts that were ever started there, to look at and to stop: their programs may be gone."""
    names = sorted(record.name.replace(".", "/") for record in (directory / "pids").iterdir())
    return [Part(name, (), directory) for name in names]


def _start_time(pid: int) -> str | None:
    """When the process started, which tells it from a later one of the same id; None where none lives."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[_STATE_FIELD] in "ZX" else fields[_START_FIELD]
