"""Other people's servers of the same kind of model, as their own documents have it: see dev/peers/servers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from churn_dev import peers
from churn_dev.errors import DevError
from churn_dev.questions import Record, v2_columns
from churn_dev.wrk import Question

SERVERS = peers.REQUIREMENTS / "servers"


@dataclass(frozen=True)
class Peer:
    """A server to compare with.

    Attributes:
        name: of its environment and of its program.
        title: what people call it.
        path: where it scores.
        ask: raw records in the words of its protocol.
        read: the first customer's probability in its answer.
    """

    name: str
    title: str
    path: str
    ask: Callable[[list[Record]], Any]
    read: Callable[[Any], float]

    def command(self, port: str) -> list[str | Path]:
        """What starts it; installs it first where it is missing."""
        return [peers.environment(self.name) / "python", SERVERS / f"serve_{self.name}.py", port]

    def question(self, server: str, records: list[Record]) -> Question:
        """The request that scores these records."""
        return Question(server + self.path, json.dumps(self.ask(records)).encode())


def require_probability(peer: Peer, answer: bytes) -> None:
    """Raises DevError where the answer holds no probability: an error that is fast is no figure."""
    probability = peer.read(json.loads(answer))
    if not 0 < probability < 1:
        raise DevError(f"{peer.title} answers {probability}, which is no probability")


PEERS = (
    Peer(
        "naive", "FastAPI + scikit-learn + pandas", "/predict",
        lambda records: {"records": records}, lambda answer: answer["predictions"][0],
    ),
    Peer(
        "kserve", "KServe's SDK", "/v1/models/telco:predict",
        lambda records: {"instances": records}, lambda answer: answer["predictions"][0],
    ),
    Peer(
        "mlserver", "MLServer", "/v2/models/telco/infer",
        lambda records: {"parameters": {"content_type": "pd"}, "inputs": v2_columns(records)},
        lambda answer: answer["outputs"][0]["data"][1],
    ),
    Peer(
        "bentoml", "BentoML", "/predict",
        lambda records: {"records": records}, lambda answer: answer[0],
    ),
)  # fmt: skip
