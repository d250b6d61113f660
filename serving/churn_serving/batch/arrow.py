"""pyarrow, which Parquet needs and the serving image does not carry."""

import os

from churn_serving.errors import DataError

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # what NumPy freed serves Arrow too; read once

try:
    import pyarrow as pa
    from pyarrow import parquet as pq
except ModuleNotFoundError:
    raise DataError("Parquet needs: pip install 'churn-serving[batch]'") from None

__all__ = ["pa", "pq"]
