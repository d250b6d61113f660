"""A BentoML service in one process, as its documents write it. Arguments: the port."""

import sys
from typing import Any

import bentoml
import pandas as pd
from pipeline import fitted


@bentoml.service(metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Churn:
    """Scores raw records."""

    def __init__(self) -> None:
        self.pipeline = fitted()

    @bentoml.api
    def predict(self, records: list[dict[str, Any]]) -> list[float]:
        """Churn probabilities, in order."""
        return self.pipeline.predict_proba(pd.DataFrame(records))[:, 1].tolist()


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        Churn.to_asgi(), host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning"
    )
