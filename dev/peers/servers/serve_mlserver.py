"""MLServer with its own scikit-learn runtime, in one process: faster than its pool. Arguments: the port."""

import asyncio
import sys
import tempfile
from pathlib import Path

import joblib
from mlserver import MLServer, ModelSettings, Settings
from mlserver.settings import ModelParameters
from mlserver_sklearn import SKLearnModel
from pipeline import NAME, fitted


async def serve(port: int, model: Path) -> None:
    """Serves until it is killed."""
    settings = Settings(
        host="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2, parallel_workers=0,
        load_models_at_startup=False, debug=False, logging_settings=None,
    )  # fmt: skip
    parameters = ModelParameters(uri=str(model), content_type="pd", extra={"predict_fn": "predict_proba"})
    churn = ModelSettings(name=NAME, implementation=SKLearnModel, parameters=parameters)
    await MLServer(settings).start([churn])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        saved = Path(work, "model.joblib")
        joblib.dump(fitted(), saved)
        asyncio.run(serve(int(sys.argv[1]), saved))
