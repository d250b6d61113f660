"""Certificates and kubeconfigs of a cluster."""

import base64
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from churn_dev import layout as layouts
from churn_dev import pki
from churn_dev.layout import Layout


@pytest.fixture
def issued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A cluster's plan whose certificates were written."""
    monkeypatch.setattr(layouts, "STATE", tmp_path)
    layout = Layout("sample", 5, 1)
    layout.directory.mkdir()
    pki.issue(layout)
    return layout


def _certificate(layout: Layout, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((layout.pki / f"{name}.crt").read_bytes())


def test_every_certificate_is_signed_by_the_clusters_own_authority(issued: Layout):
    authority = _certificate(issued, "ca")
    for file in issued.pki.glob("*.crt"):
        _certificate(issued, file.stem).verify_directly_issued_by(authority)


def test_the_api_server_is_reached_by_address_and_as_a_service(issued: Layout):
    extension = _certificate(issued, "apiserver").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    assert {issued.control_plane_address, issued.services[1], IPv4Address("127.0.0.1")} == set(addresses)
    assert "kubernetes.default.svc" in extension.value.get_values_for_type(x509.DNSName)


def test_a_node_is_who_the_node_authorizer_expects(issued: Layout):
    subject = _certificate(issued, "node1").subject.rfc4514_string()
    assert subject == "CN=system:node:node1,O=system:nodes"


def test_a_kubeconfig_works_without_any_other_file(issued: Layout):
    config = yaml.safe_load(issued.kubeconfig("admin").read_text())
    (cluster,), (user,) = config["clusters"], config["users"]
    assert cluster["cluster"]["server"] == f"https://{issued.control_plane_address}:6443"
    embedded = base64.b64decode(user["user"]["client-certificate-data"])
    assert embedded == (issued.pki / "admin.crt").read_bytes()


def test_keys_are_for_the_owner_alone(issued: Layout):
    secrets = [*issued.pki.glob("*.key"), issued.kubeconfig("admin")]
    assert {oct(file.stat().st_mode & 0o777) for file in secrets} == {"0o600"}
