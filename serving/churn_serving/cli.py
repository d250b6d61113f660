"""The `churn-serving` command. Each subcommand imports only what it needs: `serve` must start fast and stay small."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from churn_serving.errors import ChurnServingError, DataError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Train, check and serve churn models."
)

Directory = Annotated[Path, typer.Argument(help="The bundle's directory.", metavar="DIR")]


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="CSV file: a line of column names, then one customer a line.")],
    target: Annotated[str, typer.Option(help="Column that says who churned.")],
    positive: Annotated[str, typer.Option(help="Its value that means churned, such as Yes or 1.")],
    name: Annotated[str, typer.Option(help="The model's name.")],
    version: Annotated[str, typer.Option(help="The model's version.")],
    out: Annotated[Path, typer.Option(help="Directory to write the bundle to; a bundle there is replaced.")],
    id_column: Annotated[str | None, typer.Option("--id", help="Column of the customers' ids.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column not to learn from. May be repeated.")] = None,
    categorical: Annotated[
        list[str] | None, typer.Option(help="Column of numbers that are codes. May be repeated.")
    ] = None,
    algorithm: Annotated[str, typer.Option(help="logistic or gradient-boosting.")] = "logistic",
    threshold: Annotated[float, typer.Option(help="Probability from which a customer counts as churning.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Decides which rows are held back.", min=0, max=2**32 - 1)] = 0,
) -> None:
    """Train a model on a file of customers and write it as a bundle."""
    with _told():
        from churn_serving.commands import train_bundle

        train_bundle(
            out,
            data=data,
            target=target,
            positive=positive,
            name=name,
            version=version,
            id_column=id_column,
            drop=drop or [],
            categorical=categorical or [],
            algorithm=algorithm,
            threshold=threshold,
            seed=seed,
        )


@app.command()
def check(
    directory: Directory,
    digest: Annotated[str | None, typer.Option(help="Digest that it must have, sha256:…")] = None,
) -> None:
    """Verify a bundle as `serve` does: sizes, digest, files, schema, graph and golden rows."""
    with _told():
        from churn_serving.commands import check_bundle

        check_bundle(directory, digest)


@app.command()
def predict(
    customers: Annotated[Path, typer.Argument(help="CSV file of customers.", metavar="INPUT.csv")],
    model: Annotated[Path, typer.Option(help="The bundle's directory.")],
    out: Annotated[Path, typer.Option(help="CSV file to write: id, probability, churn.")],
    digest: Annotated[str | None, typer.Option(help="Digest that the bundle must have.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Instead of the bundle's own.", min=0, max=1)] = None,
) -> None:
    """Score a file of customers. Rows that cannot be scored are listed in OUT.rejected.csv and the exit code is 3."""
    with _told():
        from churn_serving.commands import predict_file

        sys.exit(predict_file(customers, model, out, digest=digest, threshold=threshold))


@app.command()
def serve(  # noqa: PLR0917 (options: nobody passes them by position)
    model: Annotated[Path | None, typer.Option(help="One bundle to serve.")] = None,
    config: Annotated[Path | None, typer.Option(help="serving.json: weights and thresholds by revision.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="With --config: a directory per revision. [/models]")] = None,
    name: Annotated[str | None, typer.Option(help="Name in the URLs /v1/models/NAME. [the bundle's]")] = None,
    digest: Annotated[str | None, typer.Option(help="With --model: the digest it must have.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [0.0.0.0]")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the traffic. [8080]")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics and the probes. [9090]")] = None,
) -> None:
    """Serve a bundle over HTTP. Every setting can also be given as CHURN_NAME; `churn-serving settings` lists them."""
    options = dict(locals())
    from churn_serving.logs import log, set_up_logs
    from churn_serving.settings import load_settings
    from churn_serving.termination import write_termination_message

    try:
        settings = load_settings(options)
    except ChurnServingError as error:
        set_up_logs("info")
        log.error("cannot serve", reason=error.reason, message=str(error))
        write_termination_message(error)
        sys.exit(1)
    set_up_logs(settings.log_level)
    from churn_serving.server.run import serve as run

    sys.exit(run(settings))


@contextmanager
def _told() -> Iterator[None]:
    """An expected failure is one message and exit code 1, not a traceback."""
    try:
        yield
    except ChurnServingError as error:
        reason = "error" if isinstance(error, DataError) else error.reason
        typer.echo(f"{reason}: {error}", err=True)
        sys.exit(1)
