"""The real server as a process: what it imports, how it starts, follows its file and leaves."""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from churn_serving.bundle.sums import digest_of

from .asgi import Process, command, run, served
from .conftest import ROOT, SAMPLE
from .wire import kept, request

DIGEST = digest_of((SAMPLE / "SHA256SUMS").read_bytes())
RECORD = json.loads((SAMPLE / "golden.jsonl").read_text().splitlines()[40])
BODY = json.dumps({"records": [RECORD["record"]]}).encode()
JSON = {"Content-Type": "application/json"}


def predict(server: Process) -> dict[str, Any]:
    answer = httpx.post(f"{server.url}/predict", content=BODY, headers=JSON, timeout=60)
    return answer.json()  # type: ignore[no-any-return]


@contextlib.contextmanager
def connection(server: Process) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.ready["port"])) as opened:
        opened.connect()
        yield opened


def status_of(url: str) -> int:
    return httpx.get(url, timeout=60).status_code


def write_config(path: Path, **entry: object) -> None:
    revisions = {"abc": {"weight": 100, **entry}, "elsewhere": {}}
    put(path, json.dumps({"model": "telco", "revisions": revisions}))


def put(path: Path, content: str) -> None:
    """Replace serving.json as the kubelet does: another file under the same name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(content)
    fresh.replace(path)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    shutil.copytree(SAMPLE, tmp_path / "models" / "abc")
    (tmp_path / "models" / "lost+found").mkdir()
    path = tmp_path / "serving.json"
    write_config(path, digest=DIGEST, decision={"threshold": 0.42})
    return path


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_serving_imports_no_training_library_and_unpickles_nothing(tmp_path: Path):
    """The pickle module itself is imported by NumPy; nothing may call it."""
    script = tmp_path / "watch.py"
    script.write_text(
        "import json, os, pickle, signal, sys, threading, urllib.request\n"
        "def refuse(*args, **kwargs): raise SystemError('unpickled')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = refuse\n"
        "sys.addaudithook(lambda event, args: refuse() if event == 'pickle.find_class' else None)\n"
        "from churn_serving.server import run\n"
        "from churn_serving import cli\n"
        "def ready(serving, listeners, *_):\n"
        "    port = listeners[0].getsockname()[1]\n"
        "    threading.Thread(target=ask, args=(port,)).start()\n"
        "def ask(port):\n"
        f"    body = {BODY!r}\n"
        "    for path, sent in (('predict', body), ('docs', None), ('openapi.json', None)):\n"
        "        request = urllib.request.Request(f'http://127.0.0.1:{port}/{path}', sent,"
        " {'Content-Type': 'application/json'})\n"
        "        assert urllib.request.urlopen(request).status == 200\n"
        "        print(json.dumps(sorted(name for name in sys.modules if '.' not in name)))\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "run._log_ready = ready\n"
        f"sys.argv = ['churn-serving', 'serve', '--model', {str(SAMPLE)!r}, '--host', '127.0.0.1',"
        " '--port', '0', '--metrics-port', '0']\n"
        "cli.app()\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    scoring, _, pages = (set(json.loads(line)) for line in done.stdout.splitlines()[:3])
    training = {"sklearn", "pandas", "joblib", "onnx", "skl2onnx", "scipy", "skops", "xgboost", "lightgbm"}
    assert not training & pages
    # What only pages and fetching need would cost every pod's start.
    assert (
        not {
            "fastapi",
            "pydantic",
            "rich",
            "obstore",
            "jwt",
            "cryptography",
            "grpc",
            "google",
            "nanoarrow",
            "flatbuffers",
        }
        & scoring
    )
    assert "fastapi" in pages


def test_a_bundle_is_served_on_both_ports():
    with served("--model", SAMPLE, "--digest", DIGEST, "--name", "my-model") as server:
        assert server.ready["model"] == "my-model"
        answer = predict(server)
        assert answer["model"] == "my-model"
        assert answer["predictions"][0]["probability"] == pytest.approx(RECORD["probability"], abs=1e-5)
        assert status_of(f"{server.url}/v1/models/my-model") == 200
        for path in ("livez", "readyz", "metrics"):
            assert status_of(f"{server.metrics_url}/{path}") == 200
        assert status_of(f"{server.url}/metrics") == 404


def test_a_new_threshold_holds_without_a_restart_and_a_bad_file_changes_nothing(config: Path):
    arguments = ("--config", config, "--models-dir", config.parent / "models", "--name", "churn-of-telco")
    with served(*arguments, environment={"CHURN_CONFIG_POLL_SECONDS": "0.05"}) as server:
        answer = predict(server)
        assert (answer["revision"], answer["predictions"][0]["threshold"]) == ("abc", 0.42)
        assert answer["model"] == "churn-of-telco"
        write_config(config, decision={"threshold": 0.9})
        until(lambda: predict(server)["predictions"][0]["threshold"] == 0.9)
        assert server.next_event()["event"] == "serving.json applied"
        for bad in ("{", '{"model": "telco", "revisions": {"other": {}}}'):
            put(config, bad)
            assert server.next_event()["reason"] in {"ConfigInvalid", "RevisionNotConfigured"}
        assert predict(server)["predictions"][0]["threshold"] == 0.9
        write_config(config, decision=None)
        until(lambda: predict(server)["predictions"][0]["threshold"] == 0.5)
        text = httpx.get(f"{server.metrics_url}/metrics", timeout=60).text
        assert 'serving_config_reloads_total{result="refused"} 2.0' in text


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda config: write_config(config, digest="sha256:" + "0" * 64), "DigestMismatch"),
        (lambda config: (config.parent / "models/abc/model.onnx").write_bytes(b""), "FileMismatch"),
        (lambda config: (config.parent / "models/abc/golden.jsonl").unlink(), "BundleIncomplete"),
        (
            lambda config: (config.parent / "models/abc").rename(config.parent / "models/xyz"),
            "RevisionNotConfigured",
        ),
        (lambda config: config.write_text("[]"), "ConfigInvalid"),
        (lambda config: config.unlink(), "ConfigInvalid"),
        (lambda config: shutil.rmtree(config.parent / "models/abc"), "ConfigInvalid"),
    ],
)
def test_what_cannot_be_served_ends_with_its_reason(config: Path, tmp_path: Path, damage: Any, reason: str):
    damage(config)
    environment = {"CHURN_TERMINATION_LOG": str(tmp_path / "termination")}
    models = config.parent / "models"
    done = run("serve", "--config", config, "--models-dir", models, cwd=tmp_path, environment=environment)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    written = json.loads((tmp_path / "termination").read_text())
    assert written == {"reason": reason, "message": json.loads(line)["message"]}
    assert done.stderr == ""


def test_a_port_in_use_is_said(tmp_path: Path):
    with served("--model", SAMPLE) as server:
        done = run(
            "serve", "--model", SAMPLE, "--host", "127.0.0.1", "--port", server.ready["port"], cwd=tmp_path
        )
    assert json.loads(done.stdout)["reason"] == "ConfigInvalid"
    assert "Address already in use" in done.stdout


def test_sigterm_goes_on_serving_and_says_not_to_come_back_and_exits_0():
    """New and kept connections are answered in the drain window, each told to close."""
    with (
        served("--model", SAMPLE, environment={"CHURN_DEADLINE_SECONDS": "300"}) as server,
        connection(server) as kept,
        connection(server) as resting,  # as long as it is there, so is the server
    ):
        resting.request("GET", "/livez")
        resting.getresponse().read()
        kept.request("POST", "/predict", BODY, JSON)
        first = kept.getresponse()
        first.read()
        assert first.getheader("connection") is None
        server.process.send_signal(signal.SIGTERM)
        assert server.next_event()["event"] == "draining"
        assert status_of(f"{server.url}/readyz") == 503
        assert status_of(f"{server.metrics_url}/readyz") == 503
        assert status_of(f"{server.metrics_url}/livez") == 200
        kept.request("POST", "/predict", BODY, JSON)
        second = kept.getresponse()
        assert (second.status, second.getheader("connection")) == (200, "close")
        second.read()
        assert predict(server)["version"] == "1"
        resting.close()
        assert server.process.wait(60) == 0


def test_a_request_in_flight_when_the_window_ends_is_finished():
    patient = {"CHURN_RECEIVE_SECONDS": "300", "CHURN_DEADLINE_SECONDS": "300"}
    with served("--model", SAMPLE, environment=patient) as server, connection(server) as slow:
        slow.putrequest("POST", "/predict")
        for name, value in {**JSON, "Content-Length": str(len(BODY))}.items():
            slow.putheader(name, value)
        slow.endheaders(BODY[:50])
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.2)  # longer than the window
        slow.send(BODY[50:])
        assert slow.getresponse().status == 200
        assert server.process.wait(60) == 0


def test_neither_idle_nor_stalled_connections_keep_the_process_from_leaving():
    patient = {"CHURN_RECEIVE_SECONDS": "300", "CHURN_KEEP_ALIVE_SECONDS": "300"}
    environment = {"CHURN_DRAIN_SECONDS": "0.2", "CHURN_DEADLINE_SECONDS": "1.5", **patient}
    head = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    with (
        served("--model", SAMPLE, environment=environment) as server,
        connection(server),
        connection(server) as half_a_header,
        connection(server) as half_a_body,
    ):
        half_a_header.sock.sendall(head[:30])
        half_a_body.sock.sendall(head + b"{")
        assert server.end() == 0


def test_ctrl_c_does_not_wait():
    environment = {"CHURN_DRAIN_SECONDS": "300", "CHURN_DEADLINE_SECONDS": "300"}
    with served("--model", SAMPLE, environment=environment) as server:
        assert server.end(signal.SIGINT) == 0


def test_a_body_that_does_not_arrive_is_given_up():
    with (
        served("--model", SAMPLE, environment={"CHURN_RECEIVE_SECONDS": "0.3"}) as server,
        kept(server.ready["port"]) as slow,
    ):
        slow.send(request(b"{", Content_Length=100))
        answer = slow.hear()
        assert (answer.status, answer.code) == (408, "request_timeout")


def test_a_large_body_leaves_the_memory_flat():
    patient = {"CHURN_RECEIVE_SECONDS": "300"}
    with served("--model", SAMPLE, environment=patient) as server, connection(server) as sender:
        predict(server)
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        sender.request("POST", "/predict", (b" " * (1 << 20) for _ in range(200)), JSON)
        assert sender.getresponse().status == 413
        assert process.memory_info().rss - before < 64 << 20
        assert predict(server)["version"] == "1"


async def test_requests_at_once_are_all_answered_with_their_own_customer():
    with served("--model", SAMPLE) as server:

        async def ask(number: int) -> tuple[int, Any]:
            record = RECORD["record"] | {"customerID": number}
            body = json.dumps({"records": [record]}).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.ready["port"])
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            rest = b"Content-Type: application/json\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + rest + body)
            answer = await reader.read()
            writer.close()
            return number, json.loads(answer.split(b"\r\n\r\n", 1)[1])["predictions"][0]["id"]

        answers = await asyncio.gather(*(ask(number) for number in range(300)))
    assert all(sent == returned for sent, returned in answers)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either --model DIR or --config FILE"),
        (("--model", "a", "--config", "b"), "either --model DIR or --config FILE"),
        (("--config", "b", "--digest", "sha256:0"), "--digest goes with --model"),
        (("--model", "a", "--port", "99999"), "<= 65535"),
        (("--model", "a", "--log-level", "loud"), "log_level"),
    ],
)
def test_a_wrong_setting_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str):
    done = run("serve", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert message in json.loads(line)["message"]


def test_the_cli_trains_checks_and_predicts(tmp_path: Path, shop_csv: Path):
    """The whole way of a person with a file, command by command."""
    trained = run(
        "train", shop_csv, "--target", "left", "--positive", "1", "--id", "account", "--drop", "joined",
        "--name", "shop", "--version", "1", "--out", tmp_path / "bundle", cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    for told in ("AUC", "average precision", "Brier score", "lift in top decile", "digest  sha256:"):
        assert told in trained.stdout
    digest = trained.stdout.split("digest ")[-1].strip()
    checked = run("check", tmp_path / "bundle", "--digest", digest, cwd=tmp_path)
    assert checked.returncode == 0
    assert "64 rows reproduce" in checked.stdout
    scored = run("predict", shop_csv, "--model", tmp_path / "bundle", "--out", "out.csv", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 601
    wrong = run("check", tmp_path / "bundle", "--digest", "sha256:" + "0" * 64, cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.split(":")[0]) == (1, "DigestMismatch")
    refused = run("train", shop_csv, "--target", "left", "--positive", "1", "--name", "s", "--version", "1",
                  "--out", "b", cwd=tmp_path)  # fmt: skip
    assert refused.returncode == 1
    assert refused.stderr.strip().endswith("Add: --id account --drop joined")
    assert "Traceback" not in refused.stderr


def test_rejected_rows_have_an_exit_code_of_their_own(tmp_path: Path):
    header = ",".join(RECORD["record"])
    (tmp_path / "in.csv").write_text(f"{header}\n{',' * header.count(',')}\n")
    done = run("predict", "in.csv", "--model", ROOT / SAMPLE, "--out", "out.csv", cwd=tmp_path)
    assert done.returncode == 3
    assert "out.rejected.csv" in done.stdout


def test_a_stop_while_loading_ends_it_as_process_1_too(tmp_path: Path):
    """The kernel gives process 1 of a PID namespace only the signals that it handles."""
    pipe = tmp_path / "serving.json"
    os.mkfifo(pipe)  # reading it blocks: loading lasts until the test says so
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    with subprocess.Popen([*unshare, *command("serve", "--config", pipe)], start_new_session=True) as process:
        try:
            with pipe.open("w"):  # opens once the server reads
                (child,) = psutil.Process(process.pid).children()
                child.terminate()
                assert process.wait(60) == 0
        finally:
            process.kill()
