"""KServe's SDK with a custom model, as its documents write it. Arguments: the port."""

import logging
import sys
from typing import Any

import pandas as pd
from kserve import Model, ModelServer
from pipeline import NAME, fitted


class Churn(Model):
    """Scores raw records of the V1 protocol."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.pipeline = fitted()
        self.ready = True

    def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> Any:
        """Churn probabilities, in order."""
        del headers, response_headers
        frame = pd.DataFrame(payload["instances"])
        return {"predictions": self.pipeline.predict_proba(frame)[:, 1].tolist()}


if __name__ == "__main__":
    # What costs it time and is of no use here: gRPC, and three lines of log a request.
    for logger in ("uvicorn.access", "kserve.trace"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, enable_latency_logging=False).start([Churn()])
