"""What a hostile client sends as a body, by the letters of the catalogue of faults: never a 5xx."""

import gzip
import json

import psutil
import pytest
from tests.serving.asgi import Process
from tests.serving.wire import ask, request

from .material import (
    BODY,
    RECORD,
    TENURE,
    V2,
    is_refused,
    metric,
    records,
    refused_everywhere,
    tenure,
)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (b"NaN", 400), (b"-NaN", 400), (b"nan", 400), (b"Infinity", 400), (b"-Infinity", 400), (b"inf", 400),
        (b"3.5e38", 422), (b"-3.5e38", 422), (b"35" + b"0" * 37, 422),
        (b"1e400", 422), (b"-1E+400", 422), (b"1e" + b"9" * 100, 422), (b"1e308", 422), (b"-1e308", 422),
        (b'"NaN"', 422), (b'"Infinity"', 422), (b'"1e400"', 422),
    ],
)  # fmt: skip
def test_f1_what_is_not_finite_or_beyond_a_32_bit_float(port: int, number: bytes, status: int):
    refused_everywhere(port, tenure(number), status)


@pytest.mark.parametrize(
    "number", [b"-0", b"-0.0", b"0e0", b"3.4e38", b"1e-400", b"0." + b"9" * 100_000, b"1e6", b"-5"]
)
def test_f1_a_finite_number_is_scored_however_it_is_written(port: int, number: bytes):
    answer = ask(port, request(tenure(number)))
    assert answer.status == 200
    assert 0 <= json.loads(answer.body)["predictions"][0]["probability"] <= 1


@pytest.mark.parametrize(
    "value",
    [
        b"9" * 4000, b"9" * 5000, b"9" * 100_000, b"-" + b"9" * 4000, b"true", b'"3"', b"[3]", b'{"a": 3}',
        b"0x10", b"01", b"1.", b".5", b"+1", b"1_000", b"1,5", "٣".encode(), b"--1", b"1e", b"1e+", b"-",
        b"null", b"None", b"'3'", b"undefined",
    ],
)  # fmt: skip
def test_f2_what_is_no_number(port: int, value: bytes):
    refused_everywhere(port, tenure(value), 400, 422)


@pytest.mark.parametrize("key", ["customerID"])
@pytest.mark.parametrize("value", [True, 1.5, 10**400, [1], {"a": 1}, "x" * 257, 2**63])
def test_f2_what_is_no_id(port: int, key: str, value: object):
    refused_everywhere(port, records(**{key: value}), 422)


TEXT = BODY.decode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"records": ' + b"[" * 100_000, id="lists 100 k deep"),
        pytest.param(b'{"records": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="lists that close"),
        pytest.param(b'{"records": ' + b'{"a":' * 100_000, id="objects 100 k deep"),
        pytest.param(BODY.replace(TENURE, TENURE + b', "x": ' + b"[" * 50_000), id="deep in a column"),
        pytest.param(BODY.replace(TENURE, TENURE + b"," + TENURE), id="duplicate key"),
        pytest.param(BODY.replace(TENURE, TENURE + b',"tenur\\u0065": 1'), id="duplicate key, escaped"),
        pytest.param(BODY[:-1] + b', "records": []}', id="duplicate records, last empty"),
        pytest.param(b'{"records": [], ' + BODY[1:], id="duplicate records, first empty"),
        pytest.param(BODY + b"x", id="trailing letter"),
        pytest.param(BODY + b"\0", id="trailing NUL"),
        pytest.param(BODY + BODY, id="two documents"),
        pytest.param(BODY + b"\n" + BODY, id="two lines"),
        pytest.param(BODY[:-1], id="cut off"),
        pytest.param(BODY[:-1] + b",}", id="trailing comma"),
        pytest.param(b"/* */" + BODY, id="comment"),
        pytest.param(b"\xef\xbb\xbf" + BODY, id="byte order mark"),
        pytest.param(TEXT.encode("utf-16"), id="UTF-16"),
        pytest.param(TEXT.encode("utf-16-le"), id="UTF-16 without mark"),
        pytest.param(TEXT.encode("utf-32"), id="UTF-32"),
        pytest.param(b"\x0b" + BODY, id="vertical tab"),
        pytest.param(b"\xc2\xa0" + BODY, id="no-break space"),
        pytest.param(b"\0" * 1000, id="NULs"),
        pytest.param(BODY.replace(b'"Contract": "', b'"Contract": "\xff'), id="bad UTF-8"),
        pytest.param(BODY.replace(b'"Contract": "', b'"Contract": "\xc0\xaf'), id="overlong UTF-8"),
        pytest.param(BODY.replace(b'"Contract": "', b'"Contract": "\xed\xa0\x80'), id="surrogate in UTF-8"),
        pytest.param(BODY.replace(b'"Contract": "', b'"Contract": "\0'), id="raw NUL in a text"),
        pytest.param(BODY.replace(b'"Contract": "', b'"Contract": "\n'), id="raw newline in a text"),
        pytest.param(BODY.replace(b'"Contract": "', b'"Contract": "\\ud800'), id="lone surrogate"),
        pytest.param(BODY.replace(b'"Contract": "', b'"Contract": "\\udc00\\ud800'), id="pair reversed"),
        pytest.param(BODY.replace(b'"Contract"', b'"\\ud800"'), id="lone surrogate in a name"),
        pytest.param(BODY.replace(b'"Contract": "', b'"Contract": "\\x41'), id="unknown escape"),
        pytest.param(b"", id="nothing"),
        pytest.param(b" " * 10_000, id="spaces"),
        pytest.param(b"null", id="null"),
        pytest.param(b"0", id="a number"),
    ],
)
def test_f3_what_is_no_single_json_document_in_utf_8(port: int, body: bytes):
    refused_everywhere(port, body, 400, 422)
    is_refused(ask(port, request(body.replace(b'"records"', b'"inputs"'), path=V2)), 400)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({k: v for k, v in RECORD.items() if k != "tenure"}, id="missing"),
        pytest.param(RECORD | {"extra": 1}, id="extra"),
        pytest.param({("Tenure" if k == "tenure" else k): v for k, v in RECORD.items()}, id="other case"),
        pytest.param({f" {k}": v for k, v in RECORD.items()}, id="spaces"),
        pytest.param(RECORD | {"tenure": None}, id="null"),
        pytest.param(RECORD | {"": 1}, id="empty name"),
        pytest.param(RECORD | {"__proto__": {}, "__class__": 1}, id="names of other languages"),
        pytest.param(RECORD | {"k" * 1_000_000: 1}, id="a name of 1 MB"),
        pytest.param(RECORD | {f"k{n}": n for n in range(100_000)}, id="100,000 columns"),
        pytest.param({}, id="none at all"),
    ],
)
def test_f4_wrong_columns(port: int, record: dict[str, object]):
    refused_everywhere(port, json.dumps({"records": [record]}).encode(), 422)


def test_f4_the_order_of_columns_means_nothing(port: int):
    turned = json.dumps({"records": [dict(reversed(RECORD.items()))]}).encode()
    found = [json.loads(ask(port, request(body)).body)["predictions"][0] for body in (BODY, turned)]
    assert found[0]["probability"] == found[1]["probability"]


@pytest.mark.parametrize("value", [3, 1.5, True, ["a"], {"a": 1}])
def test_f5_no_text_in_a_column_of_texts(port: int, value: object):
    refused_everywhere(port, records(Contract=value), 422)


@pytest.mark.parametrize(
    "text",
    ["never seen", "\u202eMonth-to-month", "🎉" * 100, "Mónth", "Mo\u0301nth", "a\0b", "\x1b[31m", "\\"],
)
def test_f5_a_text_never_seen_is_scored_as_such_and_counted(server: Process, port: int, text: str):
    line = 'model_feature_unseen_category_total{feature="Contract"'
    before = metric(server, line)
    assert ask(port, request(records(Contract=text))).status == 200
    assert metric(server, line) == before + 1


@pytest.mark.parametrize(("count", "status"), [(0, 422), (1, 200), (10_000, 200), (10_001, 413)])
def test_f6_how_many_records(port: int, count: int, status: int):
    answer = ask(port, request(json.dumps({"records": [RECORD] * count}).encode()))
    assert answer.status == status
    if status == 200:
        assert len(json.loads(answer.body)["predictions"]) == count


def test_f6_one_bad_record_of_thousands_is_named(port: int):
    rows = [RECORD] * 9000 + [RECORD | {"tenure": "SECRET"}] + [RECORD] * 900
    answer = ask(port, request(json.dumps({"records": rows}).encode()))
    is_refused(answer, 422)
    (detail,) = json.loads(answer.body)["error"]["details"]
    assert (detail["record"], detail["column"]) == (9000, "tenure")


@pytest.mark.parametrize(
    "rows", [[RECORD, []], [RECORD, None], [[]], ["SECRET"], [RECORD, {}], [[RECORD]], [1] * 5000]
)
def test_f6_ragged_records(port: int, rows: list[object]):
    refused_everywhere(port, json.dumps({"records": rows}).encode(), 422)


@pytest.mark.parametrize(
    "media",
    [
        None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/json; charset=utf-16", "application/json, text/plain", "application/jsonp", "json",
        "\xff",
        "application/json" + ";" * 5000, "application/xml", "application/octet-stream",
    ],
)  # fmt: skip
def test_f7_another_media_type(port: int, media: str | None):
    is_refused(ask(port, request(BODY, Content_Type=media)), 415)


CODINGS = ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x" * 5000]


def test_f7_a_small_body_that_would_be_large(server: Process, port: int):
    memory = psutil.Process(server.process.pid)
    before = memory.memory_info().rss
    bomb = gzip.compress(b" " * (200 << 20), 1)
    for coding in CODINGS:
        for body in (bomb, gzip.compress(bomb), bomb[:-9], bomb + bomb):
            is_refused(ask(port, request(body, Content_Encoding=coding)), 400, 413, 415)
    assert memory.memory_info().rss - before < 64 << 20
