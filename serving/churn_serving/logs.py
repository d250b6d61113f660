"""JSON logs: one line per event on standard output, a constant `event` and keys."""

import logging
import sys

import structlog


def set_up_logs(level: str) -> None:
    """Log ours, and what libraries report as errors, as JSON lines."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    # Errors only: uvicorn warns of each malformed request, and whoever sends those chooses how many there
    # are.
    logging.basicConfig(handlers=[handler], level=logging.ERROR, force=True)


log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
