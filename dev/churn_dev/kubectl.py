"""The cluster as scripts and tests see it: kubectl with one kubeconfig, JSON in and out."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from churn_dev import tools

Object: TypeAlias = dict[str, Any]
Seen = TypeVar("Seen")


class KubectlError(Exception):
    """kubectl ended with an error; the message is what it printed."""


class Kubectl:
    """Runs kubectl against one cluster.

    Args:
        kubeconfig: file that names the cluster and the user.
        namespace: namespace of every call that names none.
    """

    def __init__(self, kubeconfig: Path, namespace: str = "default") -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self._program = str(tools.path("kubectl"))

    def within(self, namespace: str) -> "Kubectl":
        """The same cluster, another namespace."""
        return Kubectl(self.kubeconfig, namespace)

    def run(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 120) -> str:
        """What kubectl prints.

        Raises:
            KubectlError: it ended with an error.
        """
        done = subprocess.run(
            [*self._command(), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    @contextmanager
    def forward(self, target: str, port: int) -> Iterator[str]:
        """Address on this machine that leads to a port of `target` (`service/telco`) while the block runs.

        Raises:
            KubectlError: it cannot be reached.
        """
        command = [*self._command(), "port-forward", "--address=127.0.0.1", target, f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            try:
                assert running.stdout is not None  # noqa: S101 - it is a pipe, for the type checker
                found = re.match(r"Forwarding from (127\.0\.0\.1:\d+)", running.stdout.readline())
                if found is None:
                    running.terminate()
                    raise KubectlError(running.communicate()[1].strip())
                yield f"http://{found[1]}"
            finally:
                running.terminate()

    def apply(self, *objects: Object, manager: str = "kubectl") -> None:
        """Applies the objects server-side; unknown fields are refused."""
        listing = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run(
            "apply", "--server-side", "--validate=strict", f"--field-manager={manager}", "--force-conflicts",
            "--filename=-", stdin=json.dumps(listing),
        )  # fmt: skip

    def _command(self) -> list[str]:
        return [self._program, "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace]

    def get(self, kind: str, name: str) -> Object | None:
        """The object, or None where there is none of that name."""
        printed = self.run("get", kind, name, "--ignore-not-found", "--output=json")
        return json.loads(printed) if printed.strip() else None

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """The objects of a kind in the namespace, by label selector."""
        items: list[Object] = json.loads(self.run("get", kind, f"--selector={selector}", "--output=json"))[
            "items"
        ]
        return items

    def patch(self, kind: str, name: str, change: Object) -> None:
        """Changes fields of an object by a JSON merge patch."""
        self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    def may(self, user: str, verb: str, what: str) -> bool:
        """Whether the API server lets the user do that; it learns late of what was granted."""
        try:
            return self.run("auth", "can-i", verb, what, f"--as={user}").strip() == "yes"
        except KubectlError:  # `no` is an exit code
            return False

    def delete(self, kind: str, name: str, *, wait: bool = True) -> None:
        """Deletes an object that may be gone already."""
        self.run("delete", kind, name, "--ignore-not-found", f"--wait={str(wait).lower()}")


def wait_until(look: Callable[[], Seen | None], what: str, *, seconds: float = 60) -> Seen:
    """Looks until it sees something true, and returns that.

    Raises:
        TimeoutError: not seen in `seconds`; names `what`.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def condition(of: Object | None, kind: str) -> Object:
    """The condition of that type in the object's status; empty where there is none."""
    conditions = (of or {}).get("status", {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind), {})
