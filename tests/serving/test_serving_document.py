"""The examples of docs/serving.md that speak V2 or stream, run as they stand but for the ports."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from churn_dev.peers import environment

from .asgi import Process, served
from .conftest import ROOT, SAMPLE

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with served("--model", SAMPLE, "--grpc-port", 0) as process:
        yield process


def blocks(heading: str) -> list[tuple[str, str]]:
    """Language and text of each example of a section."""
    text = (ROOT / "docs/serving.md").read_text()
    (section,) = [part for part in text.split("\n## ") if part.startswith(heading + "\n")]
    return BLOCK.findall(section)


def curl(command: str, server: Process, files: dict[str, str]) -> httpx.Response:
    """What the command sends; `files` is what lies where it is called."""
    program, *words = shlex.split(command)
    assert program == "curl"
    headers: dict[str, str] = {}
    content, url = "", ""
    while words:
        word = words.pop(0)
        if word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            content = words.pop(0)
        elif word == "-sT":
            content = files[words.pop(0)]
        elif word == "-X":
            assert words.pop(0) == "POST"
        else:
            url = word.replace("localhost:8080", server.url)
    return httpx.post(url, content=content, headers=headers, timeout=60)


def without_ids(text: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in json.loads(line).items() if key != "prediction_id"}
            for line in text.splitlines()]  # fmt: skip


def test_the_stream_is_answered_as_it_says(server: Process):
    (_, customers), (_, command), (_, answers) = blocks("Streams, and answers as CSV")
    told = curl(command, server, {"customers.ndjson": customers})
    assert told.status_code == 200
    assert without_ids(told.text) == without_ids(answers)


def test_the_v2_request_is_answered_as_it_says(server: Process):
    (_, command), (_, answer), *_ = blocks("The V2 protocol")
    assert curl(command, server, {}).json() == json.loads(answer)


@pytest.mark.parametrize("heading", ["The V2 protocol", "The V2 protocol over gRPC"])
def test_the_client_gets_a_probability_for_each_customer(server: Process, heading: str, tmp_path: Path):
    (program,) = [text for language, text in blocks(heading) if language == "python"]
    address = f"127.0.0.1:{server.ready['port']}"
    program = program.replace("localhost:8080", address)
    program = program.replace("localhost:9000", f"127.0.0.1:{server.ready['grpc_port']}")
    script = tmp_path / "example.py"
    script.write_text(program)
    python = environment("mlserver") / "python"
    done = subprocess.run(
        [python, script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    probabilities, decisions = re.findall(r"\[(.*?)\]", done.stdout, re.DOTALL)
    assert len(decisions.split()) == len(probabilities.split()) >= 1
    assert all(0 < float(each) < 1 for each in probabilities.split())
