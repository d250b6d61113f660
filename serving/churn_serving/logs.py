"""JSON logs: one line per event on standard output, a constant event and keys.

The standard library's logging, since importing a logging library takes longer than loading a model.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec


class Log:
    """Writes events. The event is a constant; what varies goes into the keys."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def info(self, event: str, **keys: Any) -> None:
        self._logger.info(event, extra={"keys": keys})

    def error(self, event: str, **keys: Any) -> None:
        self._logger.error(event, extra={"keys": keys})


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "keys", {}),
        }
        if record.exc_info is not None and record.exc_info[2] is not None:  # a library's
            line["places"] = traceback.format_tb(record.exc_info[2])
        return msgspec.json.encode(line, enc_hook=str).decode()


def set_up_logs(level: str) -> None:
    """Log ours from `level` up, and what libraries report as errors, as JSON lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonFormatter())
    # Errors only: uvicorn warns of each malformed request, and those are sent by whoever likes.
    logging.basicConfig(handlers=[handler], level=logging.ERROR, force=True)
    logging.getLogger("churn_serving").setLevel(level.upper())


log = Log(logging.getLogger("churn_serving"))
