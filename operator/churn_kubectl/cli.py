"""The command `kubectl churn`. Results go to standard output, errors to standard error."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from churn_kubectl.call import KEY_ENV, Caller, read_key
from churn_kubectl.cluster import Cluster
from churn_kubectl.doctor import Level, examine
from churn_kubectl.errors import ChurnError
from churn_kubectl.overview import build_tree
from churn_kubectl.predict import ask, read_headers, read_records
from churn_kubectl.read import read_all, read_entries, read_model, read_models
from churn_kubectl.records import Entry, build_patch, choose
from churn_operator.api.v1alpha1 import PLURAL

app = typer.Typer(
    name="kubectl churn",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="What people ask of their ChurnModels, in words.",
)

Name = Annotated[str, typer.Argument(help="Name of the ChurnModel.")]
Names = Annotated[list[str] | None, typer.Argument(help="Names of ChurnModels; all if none is given.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace; else the context's.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig; else the current one.")]
Kubeconfig = Annotated[str | None, typer.Option(help="Path of the kubeconfig; else as kubectl finds it.")]
Output = Annotated[str, typer.Option("--output", "-o", help="`table` for people or `json`.")]
MARKS = {Level.GOOD: "ok", Level.UNKNOWN: "??", Level.WARNING: "!", Level.BAD: "NO"}


@app.command()
def status(
    names: Names = None, namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None
) -> None:
    """Show what is there and what is wrong, as a tree; exit 1 where one is not Ready."""
    with _one_line_errors():
        cluster = Cluster(namespace, context, kubeconfig).settled()
        models = [read_model(cluster, name) for name in names] if names else read_models(cluster)
        if not models:
            print(f"no ChurnModel in namespace {cluster.namespace}")
        for model in models:
            _console().print(build_tree(read_all(cluster, model)))
    if not all(map(_is_ready, models)):
        raise typer.Exit(1)


@app.command()
def history(
    name: Name,
    *,
    output: Output = "table",
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """List the revisions that are kept: which serves, which is asked for, which failed and why."""
    with _one_line_errors():
        cluster = Cluster(namespace, context, kubeconfig).settled()
        entries = read_entries(cluster, read_model(cluster, name))
        _print(output, [_row(entry) for entry in entries])


@app.command()
def rollback(
    name: Name,
    *,
    to_revision: Annotated[int | None, typer.Option(min=1, help="Number in the history.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the patch.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Make the spec ask for an earlier revision: its model and serving; the newest that did not fail."""
    with _one_line_errors():
        cluster = Cluster(namespace, context, kubeconfig).settled()
        model = read_model(cluster, name)
        entries = read_entries(cluster, model)
        target = choose(entries, to_revision)
        patch = build_patch(model, entries, target)
        if not patch:
            print(f"{name} asks for revision {target.number} ({target.revision}) already")
        elif dry_run:
            print(json.dumps(patch, indent=2))
        else:
            options = ("--type=json", "--field-manager=kubectl-churn", f"--patch={json.dumps(patch)}")
            cluster.run("patch", PLURAL, name, *options)
            print(f"{name} asks for revision {target.number} ({target.revision}): {target.model['uri']}")
            print("The files that it is applied from still ask for the other one: change them too.")


@app.command()
def predict(
    name: Name,
    file: Annotated[
        Path | None, typer.Argument(help="Customers as JSON; standard input if not given.")
    ] = None,
    *,
    explain: Annotated[bool, typer.Option("--explain", help="With the strongest reasons.")] = False,
    key_file: Annotated[
        Path | None, typer.Option(help=f"File with an API key or token; else {KEY_ENV} has it.")
    ] = None,
    key_secret: Annotated[
        str | None, typer.Option(help="Secret with it, NAME or NAME/FIELD; the field `key` if none is given.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificate that signed the model's; else those this machine trusts.")
    ] = None,
    server_name: Annotated[
        str | None, typer.Option(help="Name in the certificate and the Host header; else NAME.NAMESPACE.svc.")
    ] = None,
    header: Annotated[list[str] | None, typer.Option(help="`Name: value`, not for what is secret.")] = None,
    output: Output = "table",
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Score customers: one JSON object, a list, {"records": […]}, or an object a line."""
    with _one_line_errors():
        cluster = Cluster(namespace, context, kubeconfig).settled()
        records = read_records(_text(file))
        caller = Caller(read_headers(header or ()), read_key(cluster, key_file, key_secret), ca_file)
        answer = ask(cluster, name, records, caller, explain=explain, server_name=server_name)
        if output == "json":
            print(json.dumps(answer, indent=2))
        else:
            _print(output, [_prediction(row) for row in answer["predictions"]])


@app.command()
def doctor(namespace: Namespace = None, context: Context = None, kubeconfig: Kubeconfig = None) -> None:
    """Look for what the cluster, your rights and the ChurnModels lack; exit 1 where that stops a model."""
    bad = False
    with _one_line_errors():
        for finding in examine(Cluster(namespace, context, kubeconfig).settled()):
            bad |= finding.level is Level.BAD
            print(f"{MARKS[finding.level]:>2}  {finding.what}")
            if finding.mend:
                print(f"    mend: {finding.mend}")
    if bad:
        raise typer.Exit(1)


def _row(entry: Entry) -> dict[str, Any]:
    digest = (entry.model.get("digest") or entry.model["uri"].rpartition("@")[2]).removeprefix("sha256:")
    return {
        "number": entry.number,
        "revision": entry.revision,
        "created": entry.created.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "model": entry.model["uri"],
        "digest": digest[:12],
        "image": entry.image,
        "state": entry.state,
    }


def _prediction(row: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        name: row[name] for name in ("id", "probability", "churn", "threshold") if name in row
    }
    if reasons := row.get("reasons"):
        shown["reasons"] = "; ".join(
            f"{each['column']} = {each['value']} ({100 * each['points']:+.1f})" for each in reasons
        )
    return shown


def _print(output: str, rows: list[dict[str, Any]]) -> None:
    if output == "json":
        print(json.dumps(rows, indent=2))
        return
    if output != "table":
        raise ChurnError(f"--output {output}: there are table and json")
    if not rows:
        print("nothing is kept yet")
        return
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in rows[0]))
    _console().print(table)


def _is_ready(model: dict[str, Any]) -> bool:
    conditions = (model.get("status") or {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _text(file: Path | None) -> str:
    try:
        return file.read_text() if file and str(file) != "-" else sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ChurnError(f"{file} cannot be read: {error}") from None


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except ChurnError as error:
        print(f"kubectl churn: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def main() -> None:
    """What the program `kubectl-churn` runs."""
    app(prog_name="kubectl churn")
