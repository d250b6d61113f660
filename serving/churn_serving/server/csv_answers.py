"""Answers as CSV."""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

if TYPE_CHECKING:
    from churn_serving.server.scoring import Prediction

COLUMNS = ("id", "prediction_id", "probability", "churn", "threshold")


def write_rows(rows: Sequence[Sequence[Any]]) -> bytes:
    """Rows as RFC 4180 has them, but for the line's end, which is a line feed.

    An id is written as it came. A spreadsheet takes one that begins with an equals sign for a formula; to
    change it would lose the customer.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def row_of(prediction: "Prediction") -> tuple[Any, ...]:
    """What `COLUMNS` names."""
    churn = "true" if prediction.churn else "false"
    given = "" if prediction.id is UNSET else prediction.id
    return given, prediction.prediction_id, prediction.probability, churn, prediction.threshold
