"""Counts an answered request, whatever it was sent over."""

from churn_serving.logs import log
from churn_serving.server.access.caller import ANYBODY, Caller
from churn_serving.server.state import Serving


def count(
    serving: Serving,
    route: str,
    method: str,
    status: int,
    caller: Caller,
    *,
    seconds: float,
    received: int,
    sent: int,
) -> None:
    """Count it, and log it where that is asked for. `route` is a path's template."""
    serving.metrics.observe_request(route, method, status, seconds=seconds, received=received, sent=sent)
    named = {}
    if caller is not ANYBODY:
        serving.metrics.callers[caller.label, status] += 1
        named = {"caller": caller.name}
    if serving.settings.access_log:
        log.info("request", route=route, method=method, status=status, **named, seconds=round(seconds, 6))
