"""Customers from Parquet. Texts stay the codes of the dictionary in the file, and each is read once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from churn_serving.batch.arrow import pa, pq
from churn_serving.batch.columns import Column, Customers, Read, Rejected, join, read_texts, rows_but
from churn_serving.batch.places import Place
from churn_serving.batch.source import Layout, Rows
from churn_serving.bundle.schema import Boolean, Feature, Manifest, Numeric
from churn_serving.errors import DataError
from churn_serving.features import FLOAT32_MAX, refusal

_BATCH_ROWS = 1 << 16

_CHUNK_ROWS = 1 << 20
_BUFFER_BYTES = 1 << 20


class Contents(NamedTuple):
    """What a file says of itself: its columns, those of them that are integers, rows per row group."""

    names: list[str]
    integers: set[str]
    groups: list[int]


def read_contents(place: Place) -> Contents:
    """Read a file's end.

    Raises:
        DataError: It is no Parquet file.
    """
    with _open(place) as file:
        schema, about = file.schema_arrow, file.metadata
        integers = {field.name for field in schema if _is_integer(field.type)}
        groups = [about.row_group(at).num_rows for at in range(about.num_row_groups)]
        return Contents(list(schema.names), integers, groups)


def cut_parquet(groups: Sequence[int], *, skip: int) -> Iterator[Rows]:
    """The rows after the first `skip`, by row groups; a very long group comes in parts."""
    first = 1
    for group, rows in enumerate(groups):
        for start in range(0, rows, _CHUNK_ROWS):
            count = min(_CHUNK_ROWS, rows - start)
            done = min(max(skip - (first - 1), 0), count)
            if count > done:
                yield Rows(group, start + done, count - done, first + done)
            first += count


def read_parquet(manifest: Manifest, layout: Layout, rows: Rows) -> Iterator[tuple[Customers, int]]:
    """Customers of these rows, some thousand at a time, and the row that follows them."""
    wanted = [feature.name for feature in manifest.features]
    header = layout.header or []
    if layout.id in header:
        wanted.append(layout.id)
    texts = [feature.name for feature in manifest.features if not isinstance(feature, Numeric)]
    with _open(layout.place, texts) as file:
        encode = _Encoder(manifest)
        at = 0  # in the row group
        for batch in file.iter_batches(
            _BATCH_ROWS, row_groups=[rows.group], columns=wanted, use_threads=False
        ):
            skip = max(rows.start - at, 0)
            part = batch.slice(skip, max(rows.start + rows.number - at - skip, 0))
            first = rows.first + at + skip - rows.start
            at += batch.num_rows
            if part.num_rows:
                yield encode.customers(layout, part, first), first + part.num_rows
            if at >= rows.start + rows.number:
                return


class _Encoder:
    """Encodes batches. Those of one row group share their dictionaries, so each is read once."""

    def __init__(self, manifest: Manifest) -> None:
        self._features = manifest.features
        self._known: dict[str, tuple[Any, Read]] = {}

    def customers(self, layout: Layout, batch: Any, first: int) -> Customers:
        count = batch.num_rows
        read = (self._read(feature, batch.column(feature.name)) for feature in self._features)
        columns, reasons = join(self._features, read)
        if layout.id in batch.schema.names:
            ids = _plain(batch.column(layout.id))
        else:
            ids = pa.array(np.arange(first, first + count))
        if reasons:
            good = rows_but(reasons, count)
            columns, ids = [column.take(good) for column in columns], ids.take(pa.array(good))
        return Customers(ids, columns, [Rejected(first + row, why) for row, why in sorted(reasons.items())])

    def _read(self, feature: Feature, values: Any) -> Read:
        kind = values.type
        if isinstance(feature, Numeric) and (
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        ):
            return _numbers(feature, values)
        if isinstance(feature, Boolean) and pa.types.is_boolean(kind):
            return _truths(feature, values)
        coded = values if pa.types.is_dictionary(kind) else values.dictionary_encode()
        return self._texts(feature, coded)

    def _texts(self, feature: Feature, coded: Any) -> Read:
        known = self._codes(feature, coded.dictionary)
        indices = coded.indices
        if indices.null_count:
            indices = indices.fill_null(len(coded.dictionary))
        positions = indices.to_numpy(zero_copy_only=False)
        refused = {}
        if known.refused.keys() - ({len(coded.dictionary)} if not coded.null_count else set()):
            rows = np.flatnonzero(np.isin(positions, list(known.refused)))
            refused = {row: known.refused[int(positions[row])] for row in rows.tolist()}
        return Read(Column(known.column.values, positions), refused)

    def _codes(self, feature: Feature, dictionary: Any) -> Read:
        """The code of each text; after them that of a missing one."""
        before = self._known.get(feature.name)
        if before is not None and before[0].equals(dictionary):
            return before[1]
        cells = [cell_text(value) for value in dictionary.to_pylist()]
        known = read_texts(feature, [*cells, ""])
        self._known[feature.name] = dictionary, known
        return known


def _numbers(feature: Numeric, values: Any) -> Read:
    numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = numbers - feature.centre
        scaled /= feature.scale
        if _fit(feature, numbers):
            return Read(Column(scaled), {})
        fits = (np.abs(scaled) <= FLOAT32_MAX) & (np.abs(numbers) <= FLOAT32_MAX)
    return _refuse(feature, scaled, fits, np.isnan(numbers), numbers)


def _fit(feature: Numeric, numbers: npt.NDArray[np.float64]) -> bool:
    """Whether all are in range, as such and scaled; NaN is where the feature may be missing."""
    least, most = (np.fmin, np.fmax) if feature.nullable else (np.minimum, np.maximum)
    bounds = [float(extreme.reduce(numbers, initial=feature.centre)) for extreme in (least, most)]
    scaled = [(bound - feature.centre) / feature.scale for bound in bounds]
    return all(abs(bound) <= FLOAT32_MAX for bound in (*bounds, *scaled))


def _refuse(
    feature: Feature,
    codes: npt.NDArray[np.float64],
    fits: npt.NDArray[np.bool_],
    missing: npt.NDArray[np.bool_],
    values: Sequence[Any] | npt.NDArray[Any],
) -> Read:
    odd = ~fits if not feature.nullable else ~fits & ~missing
    refused = {}
    for row in np.flatnonzero(odd).tolist():
        value = None if missing[row] else values[row]
        refused[row] = refusal(feature, value if value is None else float(value))
    return Read(Column(np.where(odd, 0.0, codes)), refused)


def _truths(feature: Boolean, values: Any) -> Read:
    codes = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    missing = np.isnan(codes)
    if not missing.any():
        return Read(Column(codes), {})
    return _refuse(feature, codes, ~missing, missing, codes)


def cell_text(value: Any) -> str:
    """A value as a CSV file holds it: whole numbers without `.0`, which a column with gaps gives them."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    return str(value)


def _is_integer(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind)) and kind != pa.uint64()  # the largest of those fit no int64


def _plain(ids: Any) -> Any:
    if pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    return ids.cast(pa.int64() if _is_integer(ids.type) else pa.string())


@contextmanager
def _open(place: Place, texts: Sequence[str] = ()) -> Iterator[Any]:
    # Without the reader's own buffer; a row group may be too large to hold, so Parquet has one per column.
    with place.open().detach() as file:
        try:
            yield pq.ParquetFile(
                file, read_dictionary=list(texts) or None, pre_buffer=False, buffer_size=_BUFFER_BYTES
            )
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{place} is no Parquet file: {str(error).splitlines()[0][:200]}") from None
