"""`churn-serving keys`: the file of API keys, on the machine of whoever hands them out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_FILE = click.argument("file", type=click.Path(path_type=Path))
_NAME = click.argument("name")


def build_keys(told: Callable[[], Any]) -> click.Group:
    """The commands; `told` presents expected failures."""

    @click.group()
    def keys() -> None:
        """Make and revoke API keys. FILE holds their SHA-256 only; `serve --auth keys` follows it live."""

    @keys.command()
    @_FILE
    @_NAME
    @click.option("--rate", type=float, help="Requests a second that each server answers it; default: all.")
    @click.option("--burst", type=int, help="Requests at once after a pause; default: a second's worth.")
    def add(file: Path, name: str, rate: float | None, burst: int | None) -> None:
        """Add a key for NAME and print it, this once."""
        with told():
            from churn_serving.keyfile import add_key

            click.echo(add_key(file, name, rate, burst))
            click.echo(f"{file} has its SHA-256 alone: keep the key, it cannot be told again", err=True)

    @keys.command("list")
    @_FILE
    def list_(file: Path) -> None:
        """List who has a key, the first digits of its SHA-256 and its rate."""
        with told():
            from churn_serving.keyfile import read_keys

            for key in read_keys(file):
                rate = "" if key.rate is None else f"  {key.rate:g}/s"
                burst = "" if key.burst is None else f", {key.burst} at once"
                click.echo(f"{key.name:<24} {key.sha256[:12]}{rate}{burst}")

    @keys.command()
    @_FILE
    @_NAME
    def revoke(file: Path, name: str) -> None:
        """Take NAME's key out of FILE: servers that follow it refuse the key within moments."""
        with told():
            from churn_serving.keyfile import revoke_key

            revoke_key(file, name)
            click.echo(f"revoked {name}")

    return keys
