"""Certificates and kubeconfigs of one local cluster, made anew for each."""

import base64
import datetime as dt
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from churn_dev.layout import CONTROL_PLANE, Layout

_LIFETIME = dt.timedelta(days=365)
_MASTERS = "system:masters"
_NODES = "system:nodes"


def issue(layout: Layout) -> None:
    """Writes every certificate, key and kubeconfig of the cluster."""
    layout.pki.mkdir(mode=0o700)
    layout.kubeconfig("").mkdir()
    authority = _Authority(layout.pki)
    api_server = [layout.control_plane_address, layout.services[1], IPv4Address("127.0.0.1")]
    service_names = ["kubernetes.default.svc", "kubernetes.default", "kubernetes", "localhost"]
    authority.issue("apiserver", "kube-apiserver", names=service_names, addresses=api_server)
    authority.issue("front-proxy", "front-proxy")
    users = {"admin": ("admin", _MASTERS)}
    users |= {
        part: (f"system:{part}", "") for part in ("kube-controller-manager", "kube-scheduler", "kube-proxy")
    }
    users |= {node: (f"system:node:{node}", _NODES) for node in layout.node_names}
    for user, (common_name, organisation) in users.items():
        addresses = [layout.address(user)] if organisation == _NODES else []
        authority.issue(user, common_name, organisation=organisation, names=[user], addresses=addresses)
        _write_private(layout.kubeconfig(user), _kubeconfig(layout, user).encode())
    _write_key_pair(layout.pki / "sa")


class _Authority:
    """The cluster's certificate authority; its key stays in memory, for nothing is issued later."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("ca")
        usage = x509.KeyUsage(
            key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        (directory / "ca.crt").write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        file: str,
        common_name: str,
        *,
        organisation: str = "",
        names: Sequence[str] = (),
        addresses: Sequence[IPv4Address] = (),
    ) -> None:
        """Writes `file`.crt and `file`.key, good for a server and a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self._builder(_name(common_name, organisation), key).add_extension(usages, critical=False)
        alternatives = [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        (self._directory / f"{file}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        _write_private(self._directory / f"{file}.key", _pem(key))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )


def _kubeconfig(layout: Layout, user: str) -> str:
    cluster = {
        "server": f"https://{layout.address(CONTROL_PLANE)}:6443",
        "certificate-authority-data": _encoded(layout.pki / "ca.crt"),
    }
    identity = {
        "client-certificate-data": _encoded(layout.pki / f"{user}.crt"),
        "client-key-data": _encoded(layout.pki / f"{user}.key"),
    }
    name = f"churn-{layout.name}"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": user, "user": identity}],
        },
        sort_keys=False,
    )


def _name(common_name: str, organisation: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(attributes)


def _write_key_pair(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    _write_private(path.with_suffix(".key"), _pem(key))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
