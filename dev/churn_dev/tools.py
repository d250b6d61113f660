"""Pinned Go tools: one go.mod per family under dev/tools, built once into the cache.

A family's `tool` lines are the list of its programs and its go.sum verifies every module, so this file
names no version. Nothing here knows what the programs are for.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from churn_dev import golang
from churn_dev.console import step
from churn_dev.errors import DevError
from churn_dev.paths import TOOL_SOURCES, cache_dir, locked

_TOOL = re.compile(r"^(?:tool\s+|\t)(\S+/\S+)$", re.MULTILINE)
_REQUIREMENT = re.compile(r"^(?:require\s+|\t)(\S+/\S+) (v\S+)", re.MULTILINE)

_GO = re.compile(r"^go (\S+)$", re.MULTILINE)

_PROGRAM_NAMES = {"go.etcd.io/etcd/server/v3": "etcd"}
_TAGS = {"containerd": "no_btrfs no_devmapper no_zfs"}
_VERSION_FIELDS = {
    "containerd": ["github.com/containerd/containerd/v2/version.Version={version}"],
    "helm": ["helm.sh/helm/v4/internal/version.version={version}"],
    # Without these kubectl and the discovery endpoint report v0.0.0.
    "kubernetes": [
        "k8s.io/component-base/version.gitVersion={version}",
        "k8s.io/component-base/version.gitMajor={major}",
        "k8s.io/component-base/version.gitMinor={minor}",
    ],
}


@dataclass(frozen=True)
class Family:
    """Programs that share one go.mod, and so one set of dependency versions."""

    name: str
    go_mod: str
    go_sum: str

    @property
    def packages(self) -> list[str]:
        """Main packages, as the go.mod's `tool` lines name them."""
        return _TOOL.findall(self.go_mod)

    @property
    def programs(self) -> dict[str, str]:
        """Names of the programs, each with the name that `go build` gives it."""
        built = {package: re.sub(r"/v\d+$", "", package).rpartition("/")[2] for package in self.packages}
        return {_PROGRAM_NAMES.get(package, name): name for package, name in built.items()}

    @property
    def version(self) -> str:
        """Version of the module that holds the first program, as `v1.2.3`."""
        program = self.packages[0]
        required: list[tuple[str, str]] = _REQUIREMENT.findall(self.go_mod)
        return next(version for module, version in required if f"{program}/".startswith(f"{module}/"))

    @property
    def build_flags(self) -> list[str]:
        """Flags of `go build`, the same on every machine."""
        major, minor = self.version.removeprefix("v").split(".")[:2]
        fields = _VERSION_FIELDS.get(self.name, [])
        symbols = [f"-X={field.format(version=self.version, major=major, minor=minor)}" for field in fields]
        return [
            "-trimpath",
            "-buildvcs=false",
            f"-tags={_TAGS.get(self.name, '')}",
            f"-ldflags={' '.join(['-s', '-w', *symbols])}",
        ]

    @property
    def key(self) -> str:
        """Hash of all that decides the programs: go.mod, go.sum and the flags."""
        parts = [self.go_mod, self.go_sum, json.dumps(self.build_flags)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    @property
    def directory(self) -> Path:
        """Where the built programs lie."""
        return cache_dir() / "tools" / f"{self.name}-{self.key}"


def family(name: str) -> Family:
    """Read one family's go.mod and go.sum."""
    sources = TOOL_SOURCES / name
    return Family(name, (sources / "go.mod").read_text(), (sources / "go.sum").read_text())


def families() -> list[Family]:
    """Every family, by name."""
    return [family(sources.parent.name) for sources in sorted(TOOL_SOURCES.glob("*/go.mod"))]


def path(name: str) -> Path:
    """Path of a program, built first where the cache has it not.

    Raises:
        DevError: no family has a program of that name, or the build failed.
    """
    owners = {program: each for each in families() for program in each.programs}
    if name not in owners:
        raise DevError(f"no tool is called {name}; there are {', '.join(sorted(owners))}")
    return install(owners[name]) / name


def install(wanted: Family) -> Path:
    """The directory of the family's programs, built first where the cache has it not.

    Raises:
        DevError: the build failed; names the log.
    """
    with locked(wanted.directory.with_name(f"{wanted.name}.lock")):
        if not wanted.directory.exists():
            with step(f"building {wanted.name} {wanted.version}"):
                _build(wanted)
    return wanted.directory


def _build(wanted: Family) -> None:
    go = golang.program(at_least=_GO.findall(wanted.go_mod)[0])
    partial = wanted.directory.with_name(f"{wanted.directory.name}.partial")
    log = partial.with_suffix(".log")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    command = [str(go), "build", "-C", str(TOOL_SOURCES / wanted.name), "-mod=readonly", "-o", f"{partial}/"]
    with log.open("w") as output:
        done = subprocess.run(
            [*command, *wanted.build_flags, "tool"], env=environment, stdout=output, stderr=output, check=False
        )
    if done.returncode != 0:
        raise DevError(f"{wanted.name} {wanted.version} does not build: see {log}")
    for name, built in wanted.programs.items():
        (partial / built).rename(partial / name)
    partial.rename(wanted.directory)
