"""TLS on the traffic port, by a certificate that is replaced while it serves."""

import datetime as dt
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from churn_serving.errors import ConfigInvalidError
from churn_serving.model import Model
from churn_serving.settings import load_settings

from .asgi import Process, run, served
from .conftest import SAMPLE
from .test_access import BODY, as_here, documented
from .test_server_routes import serving_of
from .test_short_way import ASKED
from .wire import Wire, wire


class Pair:
    """A certificate of the loopback that signs itself, and its key, as mounted files."""

    def __init__(self, directory: Path) -> None:
        self.certificate, self.key = directory / "tls.crt", directory / "tls.key"
        self.renew()

    def renew(self) -> int:
        """Another certificate and key in the place of the old; gives its serial number."""
        private = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "telco")])
        now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
        serial = x509.random_serial_number()
        made = (
            x509.CertificateBuilder(name, name, private.public_key(), serial, now - day, now + day)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(private, hashes.SHA256())
        )
        self.put(self.certificate, made.public_bytes(Encoding.PEM))
        form = Encoding.PEM, PrivateFormat.PKCS8
        self.put(self.key, private.private_bytes(*form, NoEncryption()))
        self.locked = private.private_bytes(*form, BestAvailableEncryption(b"secret"))
        return serial

    def put(self, path: Path, content: bytes) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(path)

    @property
    def arguments(self) -> tuple[object, ...]:
        return "--tls-certificate", self.certificate, "--tls-key", self.key


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture
def another(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture(scope="module")
def server(pair: Pair) -> Iterator[Process]:
    environment = {"CHURN_CONFIG_POLL_SECONDS": "0.05"}
    serving, _ = documented("churn-serving serve --model k8s/samples/bundle --tls-certificate")
    here = {"tls.crt": pair.certificate, "tls.key": pair.key}
    with served(*as_here(serving, here), environment=environment) as server:
        yield server


@contextmanager
def secure(server: Process, **changes: object) -> Iterator[ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name, value in changes.items():
        setattr(context, name, value)
    plain = socket.create_connection(("127.0.0.1", int(server.ready["port"])), timeout=60)
    with plain, context.wrap_socket(plain) as opened:
        yield opened


def serial_of(opened: ssl.SSLSocket) -> int:
    content = opened.getpeercert(binary_form=True)
    assert content is not None
    return x509.load_der_x509_certificate(content).serial_number


def eventually(found: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not found():
        assert time.monotonic() < until
        time.sleep(0.05)


def new_serial(server: Process) -> int:
    with secure(server) as opened:
        return serial_of(opened)


def test_the_traffic_port_speaks_tls_and_the_probes_port_does_not(server: Process, pair: Pair):
    assert server.ready["tls"] is True
    url = server.url.replace("http://", "https://")
    context = ssl.create_default_context(cafile=pair.certificate)
    headers = {"Content-Type": "application/json"}
    assert (
        httpx.post(f"{url}/predict", content=BODY, headers=headers, verify=context, timeout=60).status_code
        == 200
    )
    assert httpx.get(f"{url}/docs", verify=context, timeout=60).status_code == 200
    assert httpx.get(f"{server.metrics_url}/readyz", timeout=60).status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{server.url}/readyz", timeout=60)
    with secure(server) as opened:
        assert (opened.version(), opened.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    with secure(server, maximum_version=ssl.TLSVersion.TLSv1_2) as opened:
        assert opened.version() == "TLSv1.2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_what_is_older_than_tls_1_2_is_refused(server: Process):
    old = ssl.TLSVersion.TLSv1_1
    refused = pytest.raises((ssl.SSLError, ConnectionResetError))
    with refused, secure(server, minimum_version=old, maximum_version=old):
        pass


@pytest.mark.parametrize("kind", ["a record", "a wrong column", "a large body", "requests ahead"])
def test_a_request_gets_its_answer_whole_and_in_pieces(server: Process, kind: str):
    asked = ASKED.get(kind, ASKED["a record"])
    expected = 422 if kind == "a wrong column" else 200
    with secure(server) as opened:
        kept = Wire(opened)
        for pieces in ([asked], [asked[:7], asked[7:200], asked[200:]], [asked]):
            for piece in pieces:
                kept.send(piece)
            assert kept.hear().status == expected


def test_a_refused_head_is_answered_and_its_connection_ends(server: Process):
    with secure(server) as opened:
        kept = Wire(opened)
        kept.send(b"GARBAGE\r\n\r\n")
        answer = kept.hear()
        assert (answer.status, answer.code) == (400, "malformed_http")
        assert kept.closed()


def test_a_client_that_says_nothing_is_dropped(pair: Pair):
    hasty = {"CHURN_RECEIVE_SECONDS": "0.5"}
    with (
        served("--model", SAMPLE, *pair.arguments, environment=hasty) as server,
        wire(server.ready["port"]) as silent,
    ):
        assert silent.closed()


def test_a_renewed_certificate_is_given_to_who_comes_next_and_nobody_is_dropped(server: Process, pair: Pair):
    with secure(server) as opened:
        kept = Wire(opened)
        kept.send(ASKED["a record"])
        assert kept.hear().status == 200
        before = serial_of(opened)
        after = pair.renew()
        eventually(lambda: new_serial(server) == after)
        assert before != after
        kept.send(ASKED["a record"])
        assert kept.hear().status == 200


@pytest.mark.parametrize("broken", ["certificate", "key", "pair", "nothing"])
def test_a_broken_pair_leaves_the_one_before_and_is_seen(
    server: Process, pair: Pair, another: Pair, broken: str
):
    before = new_serial(server)
    if broken == "pair":
        pair.put(pair.key, another.key.read_bytes())
    elif broken == "nothing":
        pair.key.unlink()
    else:
        pair.put(pair.certificate if broken == "certificate" else pair.key, b"-----BEGIN")
    readyz = f"{server.metrics_url}/readyz"
    eventually(lambda: httpx.get(readyz, timeout=60).json().get("refused_files") == ["certificate"])
    assert new_serial(server) == before
    scraped = httpx.get(f"{server.metrics_url}/metrics", timeout=60).text
    assert 'serving_file_refused{file="certificate"} 1.0' in scraped
    after = pair.renew()
    eventually(lambda: new_serial(server) == after)
    assert "refused_files" not in httpx.get(readyz, timeout=60).json()


def test_without_a_whole_pair_there_is_no_start(telco_model: Model, another: Pair, tmp_path: Path):
    def start() -> None:
        serving_of(telco_model, tls_certificate=another.certificate, tls_key=another.key)

    start()
    for content in (b"", b"x", another.locked):
        another.put(another.key, content)
        with pytest.raises(ConfigInvalidError, match=r"tls\.key cannot be used"):
            start()
    another.key.unlink()
    with pytest.raises(ConfigInvalidError, match="No such file"):
        start()
    done = run("serve", "--model", SAMPLE, *another.arguments, cwd=tmp_path)
    assert (done.returncode, "ConfigInvalid" in done.stdout) == (1, True)


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key"])
def test_certificate_and_key_go_together(name: str):
    with pytest.raises(ConfigInvalidError, match="go together"):
        load_settings({"model": "m", name: "x"}, {})
