"""Records of customers, read from a file or a pipe and scored through the ChurnModel's Service."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from churn_kubectl.cluster import Cluster
from churn_kubectl.errors import ChurnError

SECONDS = 30
SHAPE = 'give customers as JSON: one object, a list, {"records": […]}, or an object a line'


def read_records(text: str) -> list[dict[str, Any]]:
    """The customers in `text`.

    Raises:
        ChurnError: It is no JSON of a shape that is known; the message says which are, and where it ends.
    """
    try:
        said = json.loads(text)
    except json.JSONDecodeError as whole:
        try:
            said = [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError:
            raise ChurnError(f"{SHAPE}; line {whole.lineno}: {whole.msg}") from None
    if isinstance(said, dict):
        said = said["records"] if isinstance(said.get("records"), list) else [said]
    if not (isinstance(said, list) and said and all(isinstance(record, dict) for record in said)):
        raise ChurnError(SHAPE)
    return said


def ask(
    cluster: Cluster, name: str, records: list[dict[str, Any]], *, explain: bool, headers: Sequence[str] = ()
) -> dict[str, Any]:
    """The server's answer, through a tunnel that kubectl makes to one of the replicas.

    Raises:
        ChurnError: No replica can be reached, or the server refuses the records: its own words.
    """
    body = json.dumps({"records": records} | ({"explain": True} if explain else {})).encode()
    named = dict(_header(line) for line in headers) | {"Content-Type": "application/json"}
    with cluster.forward(f"service/{name}", "http") as address:
        request = urllib.request.Request(  # noqa: S310  # an address of this machine
            f"{address}/predict", data=body, headers=named
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise ChurnError(f"the server answers {error.code}: {_words(error.read())}") from None
        except (OSError, ValueError) as error:
            raise ChurnError(f"the replica does not answer: {error}") from None


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise ChurnError(f"--header {name}: write it as `Name: value`")
    return name.strip(), value.strip()


def _words(body: bytes) -> str:
    """What an error says: `{"error": {"message", "details": […]}}`."""
    try:
        error = json.loads(body)["error"]
        return "; ".join([error["message"], *(json.dumps(each) for each in error.get("details", ()))])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]
