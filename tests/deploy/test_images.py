"""The Dockerfiles: what goes in is locked, what comes out has few rights."""

import re
import subprocess
import sys

import pytest

from churn_dev.generate import ROOT

Instructions = list[list[str]]

MEMBERS = ["operator", "serving"]
HASHES = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def instructions(member: str) -> Instructions:
    """The Dockerfile's instructions, continued lines joined: `[["FROM", …], …]`."""
    text = (ROOT / f"Dockerfile.{member}").read_text()
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [line.split(maxsplit=1) for line in lines if line.strip()]


@pytest.fixture(params=MEMBERS)
def dockerfile(request: pytest.FixtureRequest) -> Instructions:
    return instructions(request.param)


def arguments(dockerfile: Instructions, instruction: str):
    return [rest for name, rest in dockerfile if name == instruction]


def test_the_base_can_be_replaced_and_has_a_real_default(dockerfile: Instructions):
    assert dockerfile[0] == ["ARG", "PYTHON_IMAGE=python:3.13-slim-trixie"]
    assert arguments(dockerfile, "FROM") == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]


def test_nothing_is_downloaded_by_the_builder_itself(dockerfile: Instructions):
    assert arguments(dockerfile, "ADD") == []


def test_whatever_is_installed_from_outside_is_hash_locked(dockerfile: Instructions):
    commands = [part for run in arguments(dockerfile, "RUN") for part in run.split("&&")]
    installs = [command for command in commands if "install" in command]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes" in command or "--offline" in command


def test_it_runs_as_a_user_without_rights(dockerfile: Instructions):
    assert arguments(dockerfile, "USER") == ["65532:65532"]
    assert [name for name, _ in dockerfile[dockerfile.index(["USER", "65532:65532"]) :]][-1] == "ENTRYPOINT"


def test_the_build_tools_stay_behind(dockerfile: Instructions):
    runtime = dockerfile[[name for name, _ in dockerfile].index("FROM", 3) :]
    assert arguments(runtime, "RUN") == []
    assert arguments(runtime, "COPY") == ["LICENSE /app/LICENSE", "--from=build /app /app"]


def test_it_says_what_it_is(dockerfile: Instructions):
    (labels,) = arguments(dockerfile, "LABEL")
    given = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", labels))
    assert given == {"title", "description", "licenses", "version", "revision"}


@pytest.mark.parametrize("lock", ["operator/requirements.txt", "serving/requirements.txt", "dev/uv.txt"])
def test_every_locked_package_has_hashes(lock: str):
    packages = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.MULTILINE)[1:]
    assert packages
    assert [package.split()[0] for package in packages if not HASHES.search(package)] == []


def test_what_the_operators_image_drops_is_never_imported():
    """The client's methods by API group are left out: an import of one would fail in the image only."""
    drops = [step for name, step in instructions("operator") if name == "RUN" and step.startswith("rm ")]
    dropped = {path.replace("/", ".") + "." for path in re.findall(r"site-packages/(\S+)", " ".join(drops))}
    program = "import sys, churn_operator.__main__, churn_operator.crd_apply; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert len(dropped) == 3
    assert [module for module in loaded if f"{module}.".startswith(tuple(dropped))] == []


def test_the_images_are_made_alike():
    """The steps are the same; the operator's drop one thing more."""
    own = ("LABEL", "ENTRYPOINT")
    steps = {
        member: [
            " ".join(step).replace(member, "MEMBER") for step in instructions(member) if step[0] not in own
        ]
        for member in MEMBERS
    }
    assert [step for step in steps["operator"] if not step.startswith("RUN rm ")] == steps["serving"]


def test_the_build_context_is_an_allow_list():
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    assert [rule for rule in rules if rule.startswith("!")] == [
        "!LICENSE",
        "!dev/uv.txt",
        "!operator",
        "!serving",
    ]
