"""The `churn-serving` command. Each subcommand imports what it needs: `serve` must start fast."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from churn_serving import __version__
from churn_serving.errors import ChurnServingError, DataError
from churn_serving.key_commands import build_keys
from churn_serving.settings import PREFIX, describe_settings

_PATH = click.Path(path_type=Path)
ALGORITHMS = [
    "logistic",
    "gradient-boosting",
    "hist-gradient-boosting",
    "random-forest",
    "xgboost",
    "lightgbm",
]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, message="%(version)s")
def app() -> None:
    """Train, check and serve churn models."""


@app.command()
@click.argument("data", type=_PATH)
@click.option("--target", required=True, help="Column that says who churned.")
@click.option("--positive", required=True, help="Its value that means churned, such as Yes or 1.")
@click.option(
    "--id", "id_column", metavar="COL", help="Column of the customers' ids: accepted, returned, not learnt."
)
@click.option("--drop", metavar="COL", multiple=True, help="Column not to learn from; may be repeated.")
@click.option(
    "--categorical", metavar="COL", multiple=True, help="Column of numbers that are codes; may be repeated."
)
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default="logistic")
@click.option(
    "--calibrate",
    "calibration",
    type=click.Choice(["sigmoid", "isotonic"]),
    help="Make probabilities come true as often as they say; isotonic needs a thousand churners or so.",
)
@click.option(
    "--time-col", "time_column", metavar="COL", help="Hold the latest fifth back by this date or number."
)
@click.option(
    "--cross-validate",
    metavar="K",
    type=click.IntRange(2, 20),
    help="Also measure on K parts of the training rows, each with a model fitted on others.",
)
@click.option(
    "--search",
    metavar="N",
    type=click.IntRange(1, 1000),
    help="Try N settings of the algorithm on parts of the training rows, and take the best.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Decides which rows are held back."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    help="Probability from which a customer counts as churning.",
)
@click.option("--name", required=True, help="The model's name.")
@click.option("--version", required=True, help="The model's version.")
@click.option("--out", type=_PATH, required=True, help="Directory to write to; a bundle there is replaced.")
@click.option("--card", type=_PATH, help="HTML file for the model card with pictures of the rows held back.")
def train(out: Path, **plan: Any) -> None:
    """Train a model on DATA, a CSV file with a line of column names or a Parquet file, and write a bundle."""
    with _told():
        from churn_serving.commands import train_bundle

        train_bundle(out, **plan)


@app.command()
@click.argument("pipeline", type=_PATH)
@click.option("--data", type=_PATH, required=True, help="Labelled customers that it was not fitted on.")
@click.option("--target", required=True, help="Column that says who churned.")
@click.option("--positive", required=True, help="Its value that means churned, such as Yes or 1.")
@click.option("--id", "id_column", metavar="COL", help="Column of the customers' ids: accepted, returned.")
@click.option(
    "--categorical", metavar="COL", multiple=True, help="Column of numbers that it was given as text."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    help="Probability from which a customer counts as churning.",
)
@click.option("--trust-pickle", is_flag=True, help="PIPELINE may be a pickle, which runs whatever is in it.")
@click.option("--name", required=True, help="The model's name.")
@click.option("--version", required=True, help="The model's version.")
@click.option("--out", type=_PATH, required=True, help="Directory to write to; a bundle there is replaced.")
@click.option("--card", type=_PATH, help="HTML file for the model card with pictures of the rows held back.")
def export(pipeline: Path, out: Path, *, trust_pickle: bool, **plan: Any) -> None:
    """Write your own fitted scikit-learn pipeline as a bundle.

    PIPELINE is a file of skops.io.dump. DATA, CSV or Parquet, says what the columns hold: metrics, golden
    rows and the distribution for drift come from it, and each of its rows is held against the pipeline.
    """
    with _told():
        from churn_serving.commands import export_bundle

        export_bundle(pipeline, out, trust_pickle=trust_pickle, **plan)


@app.command()
@click.argument("directory", metavar="DIR", type=_PATH)
@click.option("--digest", help="Digest that it must have, sha256:…")
def check(directory: Path, digest: str | None) -> None:
    """Verify the bundle in DIR as `serve` does: sizes, digest, files, schema, graph and golden rows."""
    with _told():
        from churn_serving.commands import check_bundle

        check_bundle(directory, digest)


@app.command()
@click.argument("customers", metavar="INPUT.csv", type=_PATH)
@click.option("--model", type=_PATH, required=True, help="The bundle's directory.")
@click.option("--out", type=_PATH, required=True, help="CSV file to write: id, probability, churn.")
@click.option("--digest", help="Digest that the bundle must have.")
@click.option(
    "--threshold", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Instead of the bundle's."
)
def predict(customers: Path, model: Path, out: Path, digest: str | None, threshold: float | None) -> None:
    """Score a file of customers.

    Rows that cannot be scored are written to OUT's name with .rejected.csv, with their line and the reason;
    the exit code is then 3.
    """
    with _told():
        from churn_serving.commands import predict_file

        sys.exit(predict_file(customers, model, out, digest=digest, threshold=threshold))


@app.command()
@click.argument("source", metavar="INPUT")
@click.argument("target", metavar="OUTPUT")
@click.option("--model", type=_PATH, required=True, help="The bundle's directory.")
@click.option("--digest", help="Digest that the bundle must have.")
@click.option(
    "--threshold", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Instead of the bundle's."
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes; default: one a core where it pays.")
@click.option("--work", type=_PATH, help="Directory in which an OUTPUT of s3:// grows until it is whole.")
def score(source: str, target: str, model: Path, **options: Any) -> None:
    """Score files of any size: INPUT is a file, a directory of files, or a quoted pattern.

    CSV, NDJSON and Parquet are read. OUTPUT is a file for a file, else a directory. Both may be
    s3://bucket/…, by the usual AWS_* variables. A run that was killed goes on where it was when the same
    command is given again. The last line of the output is a summary in JSON. The exit code is 3 where rows
    were rejected: they are in .rejected.csv beside their output, with line and reason.
    """
    with _told():
        from churn_serving.commands import score_batch

        sys.exit(score_batch(source, target, model, **options))


@app.command()
@click.argument("directory", metavar="DIR", type=_PATH)
@click.argument("data", type=_PATH)
@click.option("--out", type=_PATH, required=True, help="HTML file to write.")
@click.option("--digest", help="Digest that the bundle must have.")
def card(directory: Path, data: Path, out: Path, digest: str | None) -> None:
    """Draw how good the bundle in DIR is on DATA: a page for a browser, with ROC, calibration and lift.

    DATA is a CSV or Parquet file of customers that says who churned; take rows that it was not trained on.
    """
    with _told():
        from churn_serving.commands import write_card

        write_card(directory, data, out, digest)


@app.command()
@click.argument("first", metavar="A", type=_PATH)
@click.argument("second", metavar="B", type=_PATH)
@click.argument("data", type=_PATH)
@click.option("--resamples", type=click.IntRange(20, 100_000), default=300, help="Bootstrap samples.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Decides which they are.")
def compare(first: Path, second: Path, data: Path, resamples: int, seed: int) -> None:
    """Compare the bundles A and B on DATA, a CSV or Parquet file of customers that says who churned."""
    with _told():
        from churn_serving.commands import compare_bundles

        compare_bundles(first, second, data, resamples=resamples, seed=seed)


@app.command()
@click.argument("uri")
@click.option("--digest", required=True, help="Digest that the bundle must have, sha256:…")
@click.option("--out", type=_PATH, required=True, help="Directory to write the bundle to.")
@click.option("--max-bytes", type=click.IntRange(1), help="Refuse a larger bundle.")
def fetch(uri: str, digest: str, out: Path, max_bytes: int | None) -> None:
    """Fetch a bundle from URI, s3://bucket/prefix or https://host/prefix, and verify it before use.

    S3 is configured by the usual AWS_* variables; CHURN_FETCH_TOKEN is sent to an https store as a bearer
    token.
    """
    from churn_serving.logs import log, set_up_logs
    from churn_serving.termination import write_termination_message

    set_up_logs("info")
    try:
        from churn_serving.fetch import fetch_bundle

        fetch_bundle(uri, digest, out, max_bytes=max_bytes)
    except ChurnServingError as error:
        log.error("cannot fetch", reason=error.reason, message=str(error))
        write_termination_message(error)
        sys.exit(1)
    log.info("fetched", digest=digest, out=str(out))


@app.command()
def serve(**options: Any) -> None:
    """Serve bundles over HTTP until SIGTERM."""
    # Process 1 of a container ignores a signal without a handler: one that comes while loading must count.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
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
    # Before NumPy is imported: its linear algebra starts a thread for each of the node's cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from churn_serving.server.run import serve as run

    sys.exit(run(settings))


def _add_settings(command: click.Command) -> None:
    for name, text, default in describe_settings():
        flag = f"--{name.replace('_', '-')}"
        told = "" if default is None else f"; default {default}"
        command.params.append(
            click.Option(
                [f"{flag}/--no-{flag[2:]}" if isinstance(default, bool) else flag],
                help=f"{text} [{PREFIX}{name.upper()}{told}]",
                metavar="VALUE",
                default=None,
                show_default=False,
            )
        )


_add_settings(serve)


@contextmanager
def _told() -> Iterator[None]:
    """An expected failure is one message and exit code 1, not a traceback."""
    try:
        yield
    except ChurnServingError as error:
        reason = "error" if isinstance(error, DataError) else error.reason
        click.echo(f"{reason}: {error}", err=True)
        sys.exit(1)


app.add_command(build_keys(_told))
