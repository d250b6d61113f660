"""A Parquet file by column, as the text that a CSV file of the same customers would hold."""

from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from churn_serving.errors import DataError

_MAGIC = b"PAR1"


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet files do, whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_columns(path: Path) -> dict[str, list[str]]:
    """Cells by column; a missing value is empty text.

    Raises:
        DataError: pyarrow is not installed or cannot read the file, or a column holds no plain values.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise DataError(f"{path} is Parquet; reading it needs: pip install 'churn-serving[batch]'") from None
    try:
        # Without `partitioning` folders such as `year=2026` above the file would become columns.
        table = parquet.read_table(path, partitioning=None)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} is no whole Parquet file: {str(error)[:200]}") from None
    names = [name.strip() for name in table.column_names]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} names these columns twice: {', '.join(repeated)}")
    return {name: _texts(name, column) for name, column in zip(names, table.columns, strict=True)}


def _texts(name: str, column: Any) -> list[str]:
    """Each different value is written once: most repeat thousands of times."""
    from pyarrow import ArrowException

    try:
        coded = column.combine_chunks().dictionary_encode()
    except ArrowException:
        raise DataError(
            f"column {name!r} holds {column.type} values; only plain ones can be learnt"
        ) from None
    texts = [_text(name, value) for value in coded.dictionary.to_pylist()]
    return ["" if at is None else texts[at] for at in coded.indices.to_pylist()]


def _text(name: str, value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value.strip()
        case bool():
            return str(value).lower()
        case int() | float() | Decimal():
            return str(value)
        case date() | time():
            return value.isoformat()
    raise DataError(f"column {name!r} holds {type(value).__name__} values; only plain ones can be learnt")
