"""JSON lines on stderr: a constant message, the rest as keys; a ChurnModel is named by namespace and name."""

import logging
import sys
from typing import Any

import structlog

QUIET = ("kopf.objects", "kopf._core.engines.activities", "kopf.activities")
"""kopf tells of every single call; its warnings stay."""


def set_up_logs(level: str) -> None:
    """One format for our lines and for those of the libraries."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _kopf_object,
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    handler.addFilter(_calm_kopf)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _kopf_object(_: Any, __: str, line: dict[str, Any]) -> dict[str, Any]:
    """The object that a line of kopf is about, under our keys."""
    reference = getattr(line.get("_record"), "k8s_ref", None) or {}
    return line | {key: reference[key] for key in ("namespace", "name") if reference.get(key)}


def _calm_kopf(record: logging.LogRecord) -> bool:
    """What ends kopf is no error: it is started again. That a thread gets no signals is on purpose."""
    if not record.name.startswith("kopf"):
        return True
    if record.levelno > logging.WARNING:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = None
    return not record.getMessage().startswith("OS signals are ignored")
