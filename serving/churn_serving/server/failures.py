"""What a client is told of a failure that is not its own: too late, or a fault of ours."""

import traceback

from churn_serving.logs import log
from churn_serving.server.http import RequestError
from churn_serving.server.state import Serving


def too_late(serving: Serving) -> RequestError:
    """There was no answer by `predict_seconds`, or by the process's own deadline."""
    code = "draining" if serving.draining else "predict_timeout"
    serving.metrics.errors[code] += 1
    if serving.draining:
        return RequestError(503, code, "this server is shutting down", headers=((b"retry-after", b"1"),))
    seconds = serving.settings.predict_seconds
    return RequestError(504, code, f"there was no answer within {seconds:g} seconds; send fewer records")


def unexpected(serving: Serving, error: Exception) -> RequestError:
    """Whatever it is. The log says where."""
    serving.metrics.errors["internal"] += 1
    # Type and place only: the message of an exception may hold a customer's value.
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    log.error("request failed", error=type(error).__name__, places=places)
    return RequestError(500, "internal", "the server failed on this request; its log says where")
