"""Labelled customers as a loaded model takes them."""

import numpy as np

from churn_serving.features import InvalidRecordsError, Matrix, parse_cell, to_matrix
from churn_serving.model import Model
from churn_serving.train.split import Indices
from churn_serving.train.table import Table, require_column


def encode_accepted(model: Model, table: Table) -> tuple[Indices, Matrix]:
    """The rows that the model accepts, and their coded matrix.

    Raises:
        DataError: The table lacks a column of the model.
    """
    features = model.manifest.features
    for feature in features:
        require_column(table, feature.name, f"model {model.manifest.name} {model.manifest.version}")
    names = [feature.name for feature in features]
    columns = [[parse_cell(feature, cell) for cell in table.columns[feature.name]] for feature in features]
    kept, encoded = [], []
    for row, values in enumerate(zip(*columns, strict=True)):
        try:
            encoded += model.encoder.encode([dict(zip(names, values, strict=True))]).rows
        except InvalidRecordsError:
            continue
        kept.append(row)
    return np.array(kept, dtype=np.intp), to_matrix(encoded, len(features))
