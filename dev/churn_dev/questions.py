"""The same customers in the words of each protocol that the benchmarks speak."""

import itertools
import json
import struct
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from churn_dev.wrk import Question
from churn_serving.server.oip import inference_pb2 as pb

Record: TypeAlias = dict[str, str | float]
ROWS = 1000


def complete_records(bundle: Path) -> list[Record]:
    """`ROWS` raw records of the bundle's golden rows, again and again, without those that miss a value.

    The peers' pipelines stop at a missing number, so that none is asked for one.
    """
    with (bundle / "golden.jsonl").open() as rows:
        records = [json.loads(row)["record"] for row in rows]
    whole = [record for record in records if None not in record.values()]
    return list(itertools.islice(itertools.cycle(whole), ROWS))


def friendly(record: Record, *, explain: bool = False) -> bytes:
    """A body of `POST /predict`, with the customer's id, and with `explain` where reasons are wanted."""
    asked: dict[str, Any] = {"records": [{"customerID": "7590-VHVEG", **record}]}
    return json.dumps({**asked, "explain": True} if explain else asked).encode()


def together(url: str, records: list[Record]) -> Question:
    """All of them in one body of `POST /predict`."""
    return Question(url, json.dumps({"records": records}).encode())


def lines(url: str, records: list[Record]) -> Question:
    """The same as a stream, a record a line."""
    body = "".join(f"{json.dumps(record)}\n" for record in records).encode()
    return Question(url, body, {"Content-Type": "application/x-ndjson"})


def arrow(url: str, records: list[Record]) -> Question:
    """The same as a stream of one record batch."""
    table = pa.Table.from_pylist(records)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return Question(
        url, sink.getvalue().to_pybytes(), {"Content-Type": "application/vnd.apache.arrow.stream"}
    )


def infer_message(model: str, records: list[Record]) -> bytes:
    """A ModelInferRequest with the tensors of `binary_tensors`, raw."""
    asked = pb.ModelInferRequest(model_name=model)
    for column in v2_columns(records):
        asked.inputs.add(name=column["name"], datatype=column["datatype"], shape=column["shape"])
        asked.raw_input_contents.append(_packed(column["data"], column["datatype"]))
    return asked.SerializeToString()


def v2_columns(records: list[Record]) -> list[dict[str, Any]]:
    """One V2 tensor a column, `[n, 1]`, with the content types that MLServer's pandas codec needs."""
    return [_column(name, [record[name] for record in records]) for name in records[0]]


def binary_tensors(url: str, records: list[Record]) -> Question:
    """The same columns as bytes behind the JSON: the extension `binary_tensor_data` of the V2 protocol."""
    inputs, parts = [], []
    for column in v2_columns(records):
        parts.append(_packed(column.pop("data"), column["datatype"]))
        inputs.append({**column, "parameters": {"binary_data_size": len(parts[-1])}})
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return Question(url, b"".join([head, *parts]), headers)


def _column(name: str, values: list[str | float]) -> dict[str, Any]:
    text = isinstance(values[0], str)
    return {
        "name": name,
        "datatype": "BYTES" if text else "FP64",
        "shape": [len(values), 1],
        "data": values,
        "parameters": {"content_type": "str" if text else "np"},
    }


def _packed(values: list[Any], datatype: str) -> bytes:
    if datatype == "FP64":
        return struct.pack(f"<{len(values)}d", *values)
    texts = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
