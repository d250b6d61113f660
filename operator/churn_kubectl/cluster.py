"""The cluster as kubectl reaches it: with the same configuration, sign-in and rights as whoever asks."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from churn_kubectl.errors import ClusterError, ForbiddenError, KindUnknownError

Object: TypeAlias = dict[str, Any]
_MARKS = {"(Forbidden)": ForbiddenError, "the server doesn't have a resource type": KindUnknownError}
"""How kubectl says what went wrong."""


@dataclass(frozen=True)
class Cluster:
    """Runs kubectl. What is None is left to kubectl's own configuration."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None

    def settled(self) -> "Cluster":
        """The same with its namespace spelt out: that of the context, else `default`."""
        if self.namespace:
            return self
        chosen = self.run("config", "view", "--minify", "--output=jsonpath={..namespace}").strip()
        return replace(self, namespace=chosen or "default")

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints.

        Raises:
            ForbiddenError: The API server says that a right is missing.
            KindUnknownError: It has no such kind.
            ClusterError: Anything else went wrong; a missing kubectl too.
        """
        try:
            done = subprocess.run(
                self._command(*arguments), input=stdin, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise ClusterError("kubectl is not on the PATH: install it, or set KUBECTL to its path") from None
        if done.returncode == 0:
            return done.stdout
        said = done.stderr.strip() or done.stdout.strip()
        kinds = (error for mark, error in _MARKS.items() if mark in said)
        raise next(kinds, ClusterError)(said)

    def get(self, kind: str, name: str) -> Object | None:
        """The object; None where there is none of that name."""
        printed = self.run("get", kind, name, "--ignore-not-found", "--output=json")
        return json.loads(printed) if printed.strip() else None

    def find(self, kind: str, *options: str) -> list[Object]:
        """The objects of a kind; `options` are those of `kubectl get`."""
        items: list[Object] = json.loads(self.run("get", kind, *options, "--output=json"))["items"]
        return items

    def raw(self, path: str) -> Object:
        """What the API server answers to a GET of `path`."""
        answer: Object = json.loads(self.run("get", f"--raw={path}"))
        return answer

    def may(self, verb: str, resource: str) -> bool:
        """Whether whoever asks has this right in the namespace."""
        try:
            self.run("auth", "can-i", verb, resource, "--quiet")
        except ClusterError:
            return False
        return True

    @contextmanager
    def forward(self, target: str, port: str) -> Iterator[tuple[str, int]]:
        """Host and port of this machine that lead to a port of `target` while the block runs.

        Raises:
            ClusterError: It cannot be reached; the message is kubectl's.
        """
        command = self._command("port-forward", "--address=127.0.0.1", target, f":{port}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            try:
                first = running.stdout.readline() if running.stdout else ""
                if (found := re.match(r"Forwarding from (127\.0\.0\.1):(\d+)", first)) is None:
                    running.terminate()
                    raise ClusterError(running.communicate()[1].strip() or "kubectl port-forward ended")
                yield found[1], int(found[2])
            finally:
                running.terminate()

    def _command(self, *arguments: str) -> list[str]:
        places = {"kubeconfig": self.kubeconfig, "context": self.context, "namespace": self.namespace}
        options = [f"--{name}={value}" for name, value in places.items() if value]
        return [os.environ.get("KUBECTL", "kubectl"), *options, *arguments]
