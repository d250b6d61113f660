"""The command `churn-dev`. Results go to standard output, progress and errors to standard error."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from churn_dev import cluster as clusters
from churn_dev import images, tools
from churn_dev.console import step
from churn_dev.errors import DevError
from churn_dev.kubectl import KubectlError

if TYPE_CHECKING:
    from churn_dev.bench import Figure

Bundle = Annotated[Path, typer.Option(help="What to serve.")]
Record = Annotated[Path | None, typer.Option(help="Page to write the table into.")]
SAMPLE = Path("k8s/samples/bundle")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="What a contributor's machine needs.",
)
cluster = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The local cluster.")
app.add_typer(cluster, name="cluster")

Name = Annotated[str, typer.Option(help="Which cluster: several can run at once.")]
Nodes = Annotated[int, typer.Option(min=0, max=9, help="How many nodes; 0 is an API server alone.")]


@cluster.command("up")
def cluster_up(name: Name = "dev", nodes: Nodes = 2) -> None:
    """Bring the cluster up, or what is missing of it."""
    with _one_line_errors():
        _print_use(clusters.up(name, nodes))


@cluster.command("down")
def cluster_down(name: Name = "dev") -> None:
    """Remove the cluster and all that belongs to it."""
    with _one_line_errors():
        clusters.down(name)


@cluster.command("status")
def cluster_status(name: Name = "dev") -> None:
    """Show what runs; exit 1 where something does not."""
    with _one_line_errors():
        found = clusters.find(name)
        rows = clusters.status(found)
    table = Table("part", "state", box=None)
    for part, state in rows.items():
        table.add_row(part, state)
    Console(soft_wrap=True).print(table)
    if any(state not in clusters.GOOD for state in rows.values()):
        raise typer.Exit(1)


@app.command()
def kubeconfig(name: Name = "dev") -> None:
    """Print the path of the cluster's kubeconfig."""
    with _one_line_errors():
        print(clusters.find(name).kubeconfig)


@app.command("load-image")
def load_image(
    image: Annotated[str, typer.Argument(help="Full name with its tag, as the builder's store has it.")],
    name: Name = "dev",
) -> None:
    """Bring an image from the builder's store to every node."""
    with _one_line_errors(), step(f"loading {image}"):
        clusters.find(name).load_image(image)


@app.command("build-images")
def build_images(
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR", help="Also a model image NAME of the bundle in DIR; may be repeated."
        ),
    ] = None,
) -> None:
    """Build the product's images where what goes into them changed, and model images; print their names."""
    with _one_line_errors():
        pairs = [_bundle(each) for each in bundle or []]
        for image in images.build_product():
            print(image)
        for image, directory in pairs:
            images.build_bundle(image, directory)
            print(image)


@app.command("tools")
def tool(names: Annotated[list[str], typer.Argument(help="Programs, for example kubectl or helm.")]) -> None:
    """Print the path of each pinned tool, building it first where it is missing."""
    with _one_line_errors():
        for path in tools.paths(names):
            print(path)


@app.command()
def demo(name: Name = "dev") -> None:
    """From nothing to three scored customers on a real cluster; safe to repeat."""
    from churn_dev.demo import Demo

    with _one_line_errors():
        Demo(name).run()


@app.command()
def bench(
    name: Name = "bench",
    record: Record = None,
) -> None:
    """Measure what docs/benchmarks.md states, on a cluster of its own, and print the table."""
    from churn_dev import bench as benchmarks

    with _one_line_errors():
        figures = benchmarks.run(name)
    _tell(figures, record)


@app.command("bench-serving")
def bench_serving(
    bundle: Annotated[Path, typer.Option(help="What to serve.")] = Path("k8s/samples/bundle"),
    record: Record = None,
) -> None:
    """Measure the scoring server beside a bare echo, and print the table."""
    from churn_dev import bench_serving as serving

    with _one_line_errors():
        figures = serving.run(bundle)
    _tell(figures, record)


@app.command("bench-batch")
def bench_batch(
    record: Record = None,
) -> None:
    """Measure the scoring of files beside scikit-learn with pandas, and print the table."""
    from churn_dev import bench_batch as batch

    with _one_line_errors():
        figures = batch.run()
    _tell(figures, record)


@app.command("bench-operator")
def bench_operator(
    *,
    few: Annotated[int, typer.Option(min=1, help="ChurnModels at once, for the time to Ready.")] = 200,
    many: Annotated[int, typer.Option(min=1, help="ChurnModels of the large fleet.")] = 1000,
    vast: Annotated[int, typer.Option(min=0, help="ChurnModels of the last restart; 0: none.")] = 5000,
    rest_seconds: Annotated[float, typer.Option(min=1, help="How long the fleet is watched at rest.")] = 600,
    tries: Annotated[int, typer.Option(min=1, help="Times each kind of child is deleted and edited.")] = 8,
    record: Record = None,
) -> None:
    """Measure the operator with many ChurnModels on nodes of kwok, and print the table."""
    from churn_dev import bench_operator as operator

    with _one_line_errors(), tempfile.TemporaryDirectory() as work:
        figures = operator.run(operator.Plan(few, many, vast, rest_seconds, tries), Path(work))
    _tell(figures, record)


@app.command()
def soak(
    name: Name = "soak",
    record: Record = None,
) -> None:
    """Disturb a model under load in every way and print what became of each request; exit 1 if one failed."""
    from churn_dev import soak as soaking

    with _one_line_errors(), tempfile.TemporaryDirectory() as work:
        figures = list(soaking.run(name, Path(work)).figures())
    _tell(figures, record)
    _exit_if_missed(figures)


@app.command("fuzz-serving")
def fuzz_serving(
    bundle: Bundle = SAMPLE,
    cases: Annotated[int, typer.Option(min=1, help="Requests at least.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Other ones with another.")] = 1,
    record: Record = None,
) -> None:
    """Ask the server what its OpenAPI document allows and what it does not; exit 1 where it errs."""
    from churn_dev import fuzz_serving as fuzzing

    with _one_line_errors():
        fuzzed = fuzzing.run(bundle, cases=cases, seed=seed)
    if fuzzed.failures:
        print(fuzzed.log, file=sys.stderr)
    figures = list(fuzzed.figures())
    _tell(figures, record, "fuzz-serving")
    _exit_if_missed(figures)


@app.command("endure-serving")
def endure_serving(
    bundle: Bundle = SAMPLE,
    requests: Annotated[int, typer.Option(min=1, help="Answers at least.")] = 1_000_000,
    record: Record = None,
) -> None:
    """Ask one server a million times; exit 1 where its memory grows."""
    from churn_dev import endurance

    with _one_line_errors():
        figures = list(endurance.run(bundle, requests=requests).figures())
    _tell(figures, record, "endure-serving")
    _exit_if_missed(figures)


@app.command("restart-serving")
def restart_serving(
    bundle: Bundle = SAMPLE,
    count: Annotated[int, typer.Option(min=1, help="Restarts.")] = 20,
    drain_seconds: Annotated[float, typer.Option(min=0, help="As the server's setting.")] = 5.0,
    record: Record = None,
) -> None:
    """Restart servers behind a load balancer under load; exit 1 where a request fails."""
    from churn_dev import restarts

    with _one_line_errors():
        figures = list(restarts.run(bundle, count=count, drain_seconds=drain_seconds).figures())
    _tell(figures, record, "restart-serving")
    _exit_if_missed(figures)


def _tell(figures: "list[Figure]", page: Path | None, part: str = "") -> None:
    from churn_dev import bench as benchmarks

    print(benchmarks.table(figures), end="")
    if page is not None:
        benchmarks.record(figures, page, part)


def _exit_if_missed(figures: "list[Figure]") -> None:
    if any(figure.met is False for figure in figures):
        raise typer.Exit(1)


def _bundle(argument: str) -> tuple[str, Path]:
    image, _, directory = argument.partition("=")
    if not image or not Path(directory, "SHA256SUMS").is_file():
        raise DevError(f"--bundle {argument}: write NAME=DIR, where DIR holds a bundle with its SHA256SUMS")
    return image, Path(directory)


def _print_use(found: clusters.Cluster) -> None:
    print(f"export KUBECONFIG={found.kubeconfig}")


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except (DevError, KubectlError, TimeoutError) as error:
        print(f"churn-dev: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
