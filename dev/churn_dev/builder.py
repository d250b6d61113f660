"""What builds images and keeps them: a Docker engine where one runs, else buildah."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

from churn_dev import programs
from churn_dev.errors import DevError

_INPUTS = "dev.churnops.inputs"
"""Label that says from which inputs an image was built."""


@cache
def docker_answers() -> bool:
    """Whether a Docker engine runs here; its client alone is not enough."""
    if shutil.which("docker") is None:
        return False
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def build(name: str, dockerfile: str, context: Path, *, inputs: str) -> None:
    """Builds the image `name` from the text of a Dockerfile; the one that had the name before goes.

    Args:
        name: full name with its tag.
        dockerfile: its text.
        context: directory of what it copies.
        inputs: hash of all that goes in, kept with the image.

    Raises:
        DevError: the build failed; gives its last words.
    """
    before = _identity(name)
    options = [f"--tag={name}", f"--label={_INPUTS}={inputs}", "--file=-", str(context)]
    programs.output(*_build_command(), *options, stdin=dockerfile)
    if before and before != _identity(name):
        # Nameless images would fill the disk. One that a container or another image still needs stays.
        subprocess.run([*_remove_command(), before], capture_output=True, check=False)


def built_from(name: str) -> str | None:
    """Hash of the inputs of the image in the store; None where there is no such image."""
    return _inspect(name, docker=".Config.Labels", buildah=".OCIv1.Config.Labels", label=_INPUTS) or None


def image_id(name: str) -> str:
    """Identity of the image in the store, as hexadecimal digits.

    Raises:
        DevError: it is not there.
    """
    identity = _identity(name)
    if not identity:
        raise DevError(
            f"no image is called {name} here: build it first, for example with `churn-dev build-images`"
        )
    return identity


def save(name: str, path: Path) -> None:
    """Writes the image as an archive in OCI layout, which keeps the manifest and so the digest."""
    if docker_answers():
        programs.output("docker", "save", f"--output={path}", name)
    else:
        programs.output(
            "buildah", "push", "--quiet", "--disable-compression", name, f"oci-archive:{path}:{name}"
        )


def _build_command() -> list[str]:
    if docker_answers():
        return ["docker", "build", "--quiet"]
    return ["buildah", "bud", "--quiet", "--isolation=chroot", "--network=host", "--layers", "--pull-never"]


def _remove_command() -> list[str]:
    return ["docker", "image", "rm"] if docker_answers() else ["buildah", "rmi"]


def _identity(name: str) -> str:
    return _inspect(name, docker=".Id", buildah=".FromImageID").removeprefix("sha256:")


def _inspect(name: str, *, docker: str, buildah: str, label: str = "") -> str:
    """One field of an image, empty where there is no such image or no such label."""
    if docker_answers():
        command, field = ["docker", "image", "inspect"], docker
    else:
        command, field = ["buildah", "inspect", "--type=image"], buildah
    template = f'{{{{index {field} "{label}"}}}}' if label else f"{{{{{field}}}}}"
    done = subprocess.run(
        [*command, f"--format={template}", name], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""
