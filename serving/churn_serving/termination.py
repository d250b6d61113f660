"""The termination message: why the container could not start, for whoever reads the pod's status."""

import json
import os
from pathlib import Path

from churn_serving.errors import ChurnServingError

ENVIRONMENT = "CHURN_TERMINATION_LOG"
DEFAULT_PATH = Path("/dev/termination-log")
MAX_BYTES = 4096  # what the kubelet keeps


def write_termination_message(error: ChurnServingError) -> None:
    """Write `{"reason", "message"}` where the kubelet looks; outside a container there is no such file."""
    path = Path(os.environ.get(ENVIRONMENT) or DEFAULT_PATH)
    if path == DEFAULT_PATH and not path.exists():
        return
    message = str(error)
    while len(text := json.dumps({"reason": error.reason, "message": message})) > MAX_BYTES:
        message = message[: len(message) // 2] + "…"
    try:
        path.write_text(text)
    except OSError:
        return  # the same words are in the log
