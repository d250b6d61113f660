"""One real cluster with the demo on it; a namespace of its own, Pod Security `restricted`, for each test."""

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from churn_dev.bundles import Models, publish_models
from churn_dev.churnmodel import restricted_namespace
from churn_dev.cluster import LANES, Cluster, down, up
from churn_dev.kubectl import Kubectl, Object

NAME = f"{LANES}-nodes"
_measured: list[str] = []
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def demo_output() -> str:
    """What `make demo` prints, run against the tests' own cluster."""
    program = Path(sys.executable).with_name("churn-dev")
    done = subprocess.run(
        [program, "demo", "--name", NAME], capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def cluster(demo_output: str) -> Iterator[Cluster]:
    """The cluster that the demo brought up: operator installed, product images loaded."""
    yield up(name=NAME)
    if "CHURN_KEEP_CLUSTER" not in os.environ:
        down(NAME)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Kubectl]:
    """A new namespace that enforces Pod Security `restricted`."""
    with new_namespace(cluster) as kubectl:
        yield kubectl


@pytest.fixture(scope="module")
def shared_namespace(cluster: Cluster) -> Iterator[Kubectl]:
    """As `namespace`, one for all tests of a file."""
    with new_namespace(cluster) as kubectl:
        yield kubectl


@contextlib.contextmanager
def new_namespace(cluster: Cluster) -> Iterator[Kubectl]:
    """A namespace while the block runs."""
    name = f"lane-{os.getpid()}-{next(_numbers)}"
    kubectl = Kubectl(cluster.kubeconfig, name)
    kubectl.apply(restricted_namespace(name))
    yield kubectl
    kubectl.delete("namespace", name, wait=False)


@pytest.fixture(scope="session")
def models(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Trained on the Telco data, built as images, loaded to every node."""
    return publish_models(cluster, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def customers(models: Models) -> list[Object]:
    """Three customers of the Telco data, typed as a client sends them."""
    return [row["record"] for row in models.first.golden_rows()[:3]]


@pytest.fixture(scope="session")
def measured() -> Callable[[str], None]:
    """Keeps a line for the end of the run: figures that are recorded and not judged."""
    return _measured.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _measured:
        terminalreporter.section("measured")
        for line in _measured:
            terminalreporter.line(line)
