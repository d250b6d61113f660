"""Follows serving.json: a new threshold or weight holds from the next request on, without a restart."""

import asyncio
from pathlib import Path

from churn_serving.errors import ChurnServingError
from churn_serving.logs import log
from churn_serving.model import Model
from churn_serving.routing import build_table, read_serving_file
from churn_serving.server.mounted import Stamp, stamp_of
from churn_serving.server.state import Serving


async def follow(serving: Serving, path: Path, models: dict[str, Model], seen: Stamp | None) -> None:
    """Look at the file every `config_poll_seconds`, for ever.

    A change that is not valid is logged and counted; what was in force stays.

    Args:
        serving: Gets the new table.
        path: serving.json.
        models: What is loaded, by revision.
        seen: `stamp_of` the file before the present table was read from it.
    """
    while True:
        await asyncio.sleep(serving.settings.config_poll_seconds)
        stamp = stamp_of(path)
        if stamp == seen:
            continue
        seen = stamp
        try:
            table = build_table(serving.settings.name, read_serving_file(path), models)
        except ChurnServingError as error:
            serving.metrics.reloads["refused"] += 1
            log.error("serving.json refused, the previous one holds", reason=error.reason, message=str(error))
            continue
        if table != serving.table:
            serving.use(table)
        serving.metrics.reloads["applied"] += 1
        thresholds = {route.revision: route.threshold for route in table.routes}
        log.info("serving.json applied", thresholds=thresholds)
