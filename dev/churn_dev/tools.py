"""Pinned Go tools: one go.mod per family under dev/tools, built once into the cache.

A family's `tool` lines are the list of its programs and its go.sum verifies every module, so this file
names no version. Nothing here knows what the programs are for.
"""

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
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
    sources: str = ""

    @property
    def programs(self) -> dict[str, str]:
        """Main packages of the go.mod's `tool` lines, by the program's name."""
        packages: list[str] = _TOOL.findall(self.go_mod)
        return {_PROGRAM_NAMES.get(package, _built_name(package)): package for package in packages}

    @property
    def version(self) -> str:
        """Version of the first program's module, as `v1.2.3`; `v0.0.0` where it lies beside the go.mod."""
        program = next(iter(self.programs.values()))
        required: list[tuple[str, str]] = _REQUIREMENT.findall(self.go_mod)
        owners = [(module, version) for module, version in required if f"{program}/".startswith(f"{module}/")]
        return max(owners, default=("", "v0.0.0"), key=lambda owner: len(owner[0]))[1]

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
        """Hash of all that decides the programs: go.mod, go.sum, flags and sources beside the go.mod."""
        parts = [
            self.go_mod,
            self.go_sum,
            json.dumps(self.build_flags),
            *([self.sources] if self.sources else []),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    @property
    def directory(self) -> Path:
        """Where the built programs lie."""
        return cache_dir() / "tools" / f"{self.name}-{self.key}"


def family(name: str) -> Family:
    """Read one family's go.mod, go.sum and sources."""
    folder = TOOL_SOURCES / name
    sources = "".join(file.read_text() for file in sorted(folder.glob("*.go")))
    return Family(name, (folder / "go.mod").read_text(), (folder / "go.sum").read_text(), sources)


def families() -> list[Family]:
    """Every family, by name."""
    return [family(sources.parent.name) for sources in sorted(TOOL_SOURCES.glob("*/go.mod"))]


def path(name: str) -> Path:
    """Path of a program, built first where the cache has it not.

    Raises:
        DevError: no family has a program of that name, or the build failed.
    """
    (found,) = paths([name])
    return found


def paths(names: Iterable[str]) -> list[Path]:
    """Paths of several programs; those of one family are built together, which shares the work."""
    owners = {program: each for each in families() for program in each.programs}
    wanted = list(names)
    if unknown := [name for name in wanted if name not in owners]:
        raise DevError(f"no tool is called {unknown[0]}; there are {', '.join(sorted(owners))}")
    for each in dict.fromkeys(owners[name] for name in wanted):
        _install(each, [name for name in wanted if owners[name] == each])
    return [owners[name].directory / name for name in wanted]


def _install(wanted: Family, names: list[str]) -> None:
    if all((wanted.directory / name).exists() for name in names):
        return
    with locked(wanted.directory.with_suffix(".lock")):
        missing = [name for name in names if not (wanted.directory / name).exists()]
        if missing:
            with step(f"building {wanted.name} {wanted.version}: {', '.join(missing)}"):
                _build(wanted, missing)


def _build(wanted: Family, names: list[str]) -> None:
    go = golang.program(at_least=_GO.findall(wanted.go_mod)[0])
    wanted.directory.mkdir(parents=True, exist_ok=True)
    log = wanted.directory / "build.log"
    with tempfile.TemporaryDirectory(dir=wanted.directory) as partial, log.open("w") as output:
        command = [
            str(go),
            "build",
            "-C",
            str(TOOL_SOURCES / wanted.name),
            "-mod=readonly",
            "-o",
            f"{partial}/",
        ]
        packages = [wanted.programs[name] for name in names]
        done = subprocess.run(
            [*command, *wanted.build_flags, *packages],
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
            stdout=output, stderr=output, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise DevError(f"{wanted.name} {wanted.version} does not build: see {log}")
        for name in names:
            Path(partial, _built_name(wanted.programs[name])).rename(wanted.directory / name)


def _built_name(package: str) -> str:
    """What `go build` calls the program: the last part of its path, the major version aside."""
    return re.sub(r"/v\d+$", "", package).rpartition("/")[2]
