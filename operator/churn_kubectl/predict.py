"""Records of customers, read from a file or a pipe and scored through the ChurnModel's Service."""

import http.client
import json
from collections.abc import Sequence
from typing import Any

from churn_kubectl.call import Caller, post
from churn_kubectl.cluster import Cluster
from churn_kubectl.errors import ChurnError
from churn_operator.names import SERVICE_PORT_NAME, TLS_SERVICE_PORT_NAME

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
    cluster: Cluster,
    name: str,
    records: list[dict[str, Any]],
    caller: Caller,
    *,
    explain: bool,
    server_name: str | None = None,
) -> dict[str, Any]:
    """The server's answer, through a tunnel that kubectl makes to one of the replicas.

    Args:
        cluster: Settled.
        name: The ChurnModel's.
        records: Customers.
        caller: Who asks.
        explain: With the strongest reasons.
        server_name: Whom to ask for; else by the Service's name in the cluster.

    Raises:
        ChurnError: No replica can be reached, or the server refuses the records: its own words.
    """
    body = json.dumps({"records": records} | ({"explain": True} if explain else {})).encode()
    port = _port(cluster, name)
    asked = server_name or f"{name}.{cluster.namespace}.svc"
    with cluster.forward(f"service/{name}", port) as address:
        status, answer = post(address, asked, body, caller, tls=port == TLS_SERVICE_PORT_NAME)
    if status != http.client.OK:
        raise ChurnError(f"the server answers {status}: {_words(answer)}")
    found: dict[str, Any] = json.loads(answer)
    return found


def read_headers(lines: Sequence[str]) -> dict[str, str]:
    """Headers of lines such as `Name: value`.

    Raises:
        ChurnError: One has no colon.
    """
    return dict(_header(line) for line in lines)


def _port(cluster: Cluster, name: str) -> str:
    service = cluster.get("service", name)
    if service is None:
        where = f"namespace {cluster.namespace}"
        raise ChurnError(f"no Service {name} in {where}; `kubectl churn status` shows its ChurnModels")
    names = {port.get("name") for port in service["spec"]["ports"]}
    return TLS_SERVICE_PORT_NAME if TLS_SERVICE_PORT_NAME in names else SERVICE_PORT_NAME


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
