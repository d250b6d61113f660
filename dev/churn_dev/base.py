"""The base image of the product's Dockerfiles where no registry is reached: the same Debian, by debootstrap.

It answers to the official image's name, so the Dockerfiles build unchanged.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from churn_dev import builder, packages, programs
from churn_dev.console import step
from churn_dev.paths import cache_dir, locked

NAME = "docker.io/library/python:3.13-slim-trixie"

_SUITE = "trixie"
_PACKAGES = "ca-certificates,python3,python3-venv,python3-pip"
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_EXTRA_AUTHORITIES = Path("/usr/local/share/ca-certificates")
_INDEX_SETTINGS = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX")


def ensure() -> str:
    """Builds the image where it is missing or the machine's certificates changed; returns their hash."""
    authorities = _authorities()
    dockerfile = _dockerfile(trusts_more=authorities is not None)
    certificates = authorities.read_bytes() if authorities else b""
    inputs = hashlib.sha256(f"{_SUITE} {_PACKAGES} {dockerfile}".encode() + certificates).hexdigest()
    with locked(cache_dir() / "base.lock"):
        if builder.built_from(NAME) != inputs:
            _build(dockerfile, authorities, inputs)
    return inputs


def _authorities() -> Path | None:
    """The machine's bundle of certificate authorities, where it trusts more than Debian does."""
    if configured := os.environ.get("SSL_CERT_FILE"):
        return Path(configured)
    return _BUNDLE if any(_EXTRA_AUTHORITIES.rglob("*.crt")) else None


def _dockerfile(*, trusts_more: bool) -> str:
    lines = ["FROM scratch", "ADD root.tar /"]
    settings = {name: os.environ[name] for name in _INDEX_SETTINGS if name in os.environ}
    if trusts_more:
        lines.append(f"COPY authorities.crt {_BUNDLE}")
        settings |= {"SSL_CERT_FILE": str(_BUNDLE), "PIP_CERT": str(_BUNDLE)}
    lines += [f"ENV {name}={value}" for name, value in sorted(settings.items())]
    return "\n".join([*lines, 'CMD ["python3"]', ""])


def _build(dockerfile: str, authorities: Path | None, inputs: str) -> None:
    root = _root_archive()
    with step(f"building image {NAME}"), tempfile.TemporaryDirectory(dir=cache_dir()) as context:
        os.link(root, Path(context, "root.tar"))
        if authorities:
            shutil.copyfile(authorities, Path(context, "authorities.crt"))
        builder.build(NAME, dockerfile, Path(context), inputs=inputs)


def _root_archive() -> Path:
    """The root file system, made once."""
    archive = cache_dir() / f"{_SUITE}-{hashlib.sha256(_PACKAGES.encode()).hexdigest()[:12]}.tar"
    if not archive.exists():
        packages.ensure(["debootstrap"])
        with (
            step(f"installing Debian {_SUITE} with Python"),
            tempfile.TemporaryDirectory(dir=cache_dir()) as directory,
        ):
            root = Path(directory, "root")
            programs.output(
                "debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root), *_mirror()
            )
            _adapt(root)
            partial = archive.with_suffix(".partial")
            programs.output(
                "tar",
                "--create",
                f"--file={partial}",
                f"--directory={root}",
                "--one-file-system",
                "--exclude=./dev/*",
                ".",
            )
            partial.rename(archive)
    return archive


def _adapt(root: Path) -> None:
    """Makes Debian's Python look like the official image's."""
    (python,) = (root / "usr" / "bin").glob("python3.[0-9]*[0-9]")
    for name in ("python", "python3"):
        (root / "usr" / "local" / "bin" / name).symlink_to(f"/usr/bin/{python.name}")
    for marker in (root / "usr" / "lib").glob("python3.*/EXTERNALLY-MANAGED"):
        marker.unlink()
    for spare in (
        "var/cache/apt/archives",
        "var/lib/apt/lists",
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
    ):
        shutil.rmtree(root / spare)
        (root / spare).mkdir()


def _mirror() -> list[str]:
    """The machine's own Debian mirror; none leaves the choice to debootstrap."""
    command = ["apt-get", "indextargets", "--format=$(SITE)", "Created-By: Packages", "Label: Debian"]
    sites = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return sites[:1]
