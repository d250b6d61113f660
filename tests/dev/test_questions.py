"""What the benchmarks ask."""

import json

import pyarrow as pa

from churn_dev.paths import ROOT
from churn_dev.questions import (
    ROWS,
    arrow,
    binary_tensors,
    complete_records,
    friendly,
    infer_message,
    lines,
    together,
)
from churn_serving.server.oip import inference_pb2 as pb

BUNDLE = ROOT / "k8s/samples/bundle"


def test_no_record_lacks_a_value_and_there_are_as_many_as_said():
    records = complete_records(BUNDLE)
    assert len(records) == ROWS
    assert not [record for record in records if None in record.values()]


def test_reasons_are_wanted_only_where_said():
    record = complete_records(BUNDLE)[0]
    assert "explain" not in json.loads(friendly(record))
    assert json.loads(friendly(record, explain=True))["explain"] is True


def test_the_sizes_in_the_head_of_a_binary_question_add_up_to_its_tail():
    question = binary_tensors("http://127.0.0.1/", complete_records(BUNDLE))
    length = int(question.headers["Inference-Header-Content-Length"])
    head = json.loads(question.body[:length])
    sizes = [tensor["parameters"]["binary_data_size"] for tensor in head["inputs"]]
    assert sum(sizes) == len(question.body) - length
    assert not [tensor for tensor in head["inputs"] if "data" in tensor]


def test_streams_and_messages_ask_for_the_same_customers_as_one_body():
    records = complete_records(BUNDLE)[:7]
    assert json.loads(together("http://127.0.0.1/", records).body)["records"] == records
    assert [json.loads(line) for line in lines("http://127.0.0.1/", records).body.splitlines()] == records
    assert pa.ipc.open_stream(arrow("http://127.0.0.1/", records).body).read_all().to_pylist() == records
    asked = pb.ModelInferRequest.FromString(infer_message("telco", records))
    assert b"".join(asked.raw_input_contents) in binary_tensors("http://127.0.0.1/", records).body
