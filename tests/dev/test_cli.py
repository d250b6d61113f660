"""The command line, as people call it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = Path(sys.executable).with_name("churn-dev")


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_PROGRAM, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "command",
    ["cluster up", "cluster down", "cluster status", "kubeconfig", "load-image", "build-images", "tools"],
)
def test_every_command_explains_itself(command: str):
    done = _run(*command.split(), "--help")
    assert done.returncode == 0
    assert f"churn-dev {command}" in done.stdout


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("kubeconfig --name never-made", "churn-dev cluster up --name never-made"),
        ("cluster status --name never-made", "churn-dev cluster up --name never-made"),
        ("cluster up --name Bad_Name", "lower-case letters"),
        ("tools kubeclt", "no tool is called kubeclt"),
        ("build-images --bundle nonsense", "NAME=DIR"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(command: str, says: str):
    done = _run(*command.split(), CLUSTER="local")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("churn-dev: ")
    assert says in line


def test_an_unknown_way_to_a_cluster_is_refused():
    done = _run("cluster", "up", CLUSTER="minikube")
    assert "use one of existing, kind, local" in done.stderr


def test_an_existing_cluster_without_a_kubeconfig_says_which_file_is_missing(tmp_path: Path):
    done = _run("kubeconfig", CLUSTER="existing", KUBECONFIG=str(tmp_path / "none"))
    assert f"{tmp_path / 'none'} is not there" in done.stderr


def test_an_existing_cluster_is_taken_as_it_is(tmp_path: Path):
    config = tmp_path / "config"
    config.touch()
    done = _run("kubeconfig", CLUSTER="existing", KUBECONFIG=str(config))
    assert done.stdout.strip() == str(config)
