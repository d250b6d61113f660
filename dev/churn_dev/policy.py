"""What checkov and kube-score object to in Kubernetes objects, and which objections are answered.

Neither knows the other's checks. checkov lives in an environment of its own: its pins fit nobody else.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from churn_dev import programs, tools
from churn_dev.console import step
from churn_dev.paths import ROOT, cache_dir, locked

_POLICY = ROOT / "dev/policy"
_ALL_GOOD = 10
"""The best of kube-score's grades."""


@dataclass(frozen=True, order=True)
class Finding:
    """One objection.

    Attributes:
        check: its identity, `CKV_K8S_15` or `container-image-pull-policy`.
        target: kind and name of the object.
    """

    check: str
    target: str


@dataclass(frozen=True)
class Answer:
    """Why objections of these checks stay, in objects whose kind and name match one of these patterns."""

    checks: tuple[str, ...]
    objects: tuple[str, ...]
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether it answers this one."""
        return finding.check in self.checks and any(
            fnmatchcase(finding.target, each) for each in self.objects
        )


def answers() -> list[Answer]:
    """The reviewed exceptions, from dev/policy/exceptions.yaml."""
    read = yaml.safe_load((_POLICY / "exceptions.yaml").read_text())
    return [Answer(tuple(each["checks"]), tuple(each["objects"]), each["reason"]) for each in read]


def findings(directory: Path) -> set[Finding]:
    """What both tools object to in the YAML files of a directory.

    Raises:
        DevError: a tool cannot be had, or ended without a verdict.
    """
    return {*_checkov(directory), *_kube_score(sorted(directory.glob("*.yaml")))}


def _checkov(directory: Path) -> Iterator[Finding]:
    program = _checkov_program()
    command: list[str | Path] = [
        program,
        "--directory",
        directory,
        "--framework",
        "kubernetes",
        "--output",
        "json",
    ]
    quietly = ["--quiet", "--compact", "--skip-download", "--soft-fail"]
    said = json.loads(programs.output(*command, *quietly))
    for each in said["results"]["failed_checks"]:
        # Kind.namespace.name, and of a pod in a template its labels behind it.
        kind, _, name = each["resource"].split(".")[:3]
        yield Finding(each["check_id"], f"{kind}/{name}")


def _kube_score(files: Iterable[Path]) -> Iterator[Finding]:
    command: list[str | Path] = [tools.path("kube-score"), "score", "--output-format=json", *files]
    # It exits with 1 where it objects.
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for each in json.loads(done.stdout):
        target = f"{each['type_meta']['kind']}/{each['object_meta']['name']}"
        for check in each["checks"]:
            if not check["skipped"] and check["grade"] < _ALL_GOOD:
                yield Finding(check["check"]["id"], target)


def _checkov_program() -> Path:
    requirements = _POLICY / "requirements.txt"
    version = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    home = cache_dir() / f"checkov-{version}"
    with locked(home.with_name(f"{home.name}.lock")):
        if not (home / "installed").exists():
            with step("fetching checkov"):
                uv = [sys.executable, "-m", "uv"]
                programs.output(
                    *uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(home)
                )
                pip = [*uv, "pip", "sync", "--quiet", "--python", str(home / "bin/python")]
                programs.output(*pip, "--require-hashes", str(requirements))
                (home / "installed").touch()
    return home / "bin/checkov"
