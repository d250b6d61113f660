"""Arrow streams on /predict, written and read by pyarrow; hostile ones are refused and harm nothing."""

import io
import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from .asgi import Process, served
from .test_streams import RECORDS, expected, known

EMPTY = "must not be empty: no value was missing in training"
CLIENT = httpx.Client(timeout=60)
TYPE = "application/vnd.apache.arrow.stream"
TABLE = pa.Table.from_pylist([{**record, "account": str(record["account"])} for record in RECORDS])
MANY = pa.concat_tables([TABLE] * 800).combine_chunks()


@pytest.fixture(scope="module")
def server(shop: Path) -> Iterator[Process]:
    limits = {"CHURN_MAX_VALUES": "20000", "CHURN_MAX_BODY_BYTES": "400000"}
    with served("--model", shop, environment=limits) as process:
        yield process


@pytest.fixture(scope="module", autouse=True)
def _hung_up() -> Iterator[None]:
    with CLIENT:
        yield


def written(table: pa.Table, *, rows: int | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    options = {"options": pa.ipc.IpcWriteOptions(**options)}
    with pa.ipc.new_stream(out, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return out.getvalue()


def send(server: Process, body: Any, **headers: str) -> httpx.Response:
    sent = {"Content-Type": TYPE} | {name.replace("_", "-"): value for name, value in headers.items()}
    return CLIENT.post(f"{server.url}/predict", content=body, headers=sent)


def answers(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == TYPE
    return pa.ipc.open_stream(response.content).read_all().to_pylist()


def as_texts(told: list[tuple[Any, float, bool]]) -> list[tuple[Any, float, bool]]:
    return [(str(customer), *rest) for customer, *rest in told]


@pytest.mark.parametrize("piece", [7, 1000, 1 << 20])
def test_each_row_has_its_row_in_order_however_the_bytes_come(server: Process, piece: int):
    body = written(TABLE, rows=2)
    told = answers(send(server, iter([body[at : at + piece] for at in range(0, len(body), piece)])))
    assert known(told) == as_texts(expected(server))
    assert [one["line"] for one in told] == [1, 2, 3]
    assert all(one["error"] is None for one in told)


def test_many_batches_and_large_ones_are_answered_alike(server: Process):
    for rows in (170, 1500):
        assert known(answers(send(server, written(MANY, rows=rows)))) == as_texts(expected(server)) * 800


@pytest.mark.parametrize("kind", ["dictionary", "large", "small numbers", "categorical nulls as NaN"])
def test_types_that_hold_the_same_values_are_read_alike(server: Process, kind: str):
    table = TABLE
    if kind == "dictionary":
        for name in ("plan", "region"):
            table = table.set_column(
                table.schema.get_field_index(name), name, table[name].dictionary_encode()
            )
    elif kind == "large":
        table = table.set_column(3, "plan", table["plan"].cast(pa.large_string()))
    elif kind == "small numbers":
        table = table.set_column(5, "visits", table["visits"].cast(pa.uint8()))
    else:
        ages = [float("nan") if record["age"] is None else record["age"] for record in RECORDS]
        table = table.set_column(1, "age", pa.array(ages))
    assert known(answers(send(server, written(table)))) == as_texts(expected(server))


def test_a_bad_row_is_told_in_its_place(server: Process):
    table = TABLE.set_column(5, "visits", pa.array([3, None, 0]))
    told = answers(send(server, written(table)))
    assert [one["error"] for one in told] == [
        None,
        f"the record does not fit the model's columns; visits: {EMPTY}",
        None,
    ]
    assert known([told[0], told[2]]) == as_texts(expected(server)[::2])


def test_forms_may_differ_on_the_way_in_and_out(server: Process):
    told = send(server, written(TABLE), Accept="application/x-ndjson")
    assert known([json.loads(line) for line in told.text.splitlines()]) == as_texts(expected(server))
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    back = send(server, lines, Content_Type="application/x-ndjson", Accept=TYPE)
    assert known(answers(back)) == as_texts(expected(server))


def test_columns_that_do_not_fit_are_named_before_anything_is_answered(server: Process):
    for table, told in (
        (TABLE.drop_columns(["age"]), "columns are missing: 'age'"),
        (TABLE.append_column("shoe", pa.array([1, 2, 3])), "the model has no such columns: 'shoe'"),
        (TABLE.append_column("age", pa.array([1, 2, 3])), "columns are given twice: 'age'"),
    ):
        refused = send(server, written(table))
        assert (refused.status_code, refused.json()["error"]["message"]) == (422, told)


def cut(stream: bytes) -> list[bytes]:
    """A stream's messages."""
    reader = pa.ipc.MessageReader.open_stream(stream)
    return [message.serialize().to_pybytes() for message in iter(partial(next, reader, None), None)]


def added_to(values: Any, times: int) -> bytes:
    """A stream whose regions are of a dictionary to which its values are added again and again."""
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    tables = [
        TABLE.set_column(
            TABLE.column_names.index("region"), "region", pa.DictionaryArray.from_arrays([0] * 3, known)
        )
        for known in (values, pa.concat_arrays([values, values]))
    ]
    with pa.ipc.new_stream(out, tables[0].schema, options=options) as writer:
        for table in tables:
            writer.write_table(table)
    schema, whole, batch, more, *_ = cut(out.getvalue())
    return b"".join([schema, whole, more * times, batch, END])


END = b"\xff\xff\xff\xff\0\0\0\0"
BROKEN: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "no stream": (b"ARROW1\0\0" * 20, 400),
    "no schema": (written(TABLE)[len(written(TABLE.slice(0, 0))) - 8 :], 400),
    "cut short": (written(TABLE)[:-100], 400),
    "two schemas": (written(TABLE)[:-8] + written(TABLE), 400),
    "compressed batches": (written(TABLE, compression="zstd"), 415),
    "a batch of too many rows": (written(pa.concat_tables([MANY] * 2).combine_chunks()), 413),
    "an id twice": (written(TABLE.append_column("account", pa.array(["1"] * 3))), 422),
    "metadata without end": (b"\xff\xff\xff\xff\xff\xff\xff\x7f", 400),
    "metadata of nothing": (b"\xff\xff\xff\xff\x08\0\0\0" + b"\0" * 8, 400),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_stream_is_refused(server: Process, case: str):
    body, status = BROKEN[case]
    told = send(server, body)
    if told.status_code == 200:  # what is wrong comes after a batch that was right
        assert answers(told)[-1]["error"]
    else:
        assert (told.status_code, bool(told.json()["error"]["message"])) == (status, True)


@pytest.mark.parametrize(
    ("values", "times"), [(pa.array(["north"]), 300), (pa.nulls(1000), 20)], ids=["by one", "without a byte"]
)
def test_a_dictionary_that_grows_without_end_is_refused(server: Process, values: Any, times: int):
    assert send(server, added_to(values, 2)).status_code == 200
    refused = send(server, added_to(values, times))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_many_values")


def test_changed_bytes_never_fail_the_server(server: Process):
    """Each answer is an error of ours or rows; the same process answers at the end."""
    chance, body = random.Random(11), written(TABLE, rows=2)  # noqa: S311 (the same bytes in every run)
    for _ in range(300):
        changed = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        assert send(server, bytes(changed)).status_code < 500
    assert known(answers(send(server, written(TABLE)))) == as_texts(expected(server))
