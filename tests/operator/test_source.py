import pytest

from churn_operator.api.source import parse_source


def test_a_claim_has_a_name_and_a_path():
    source = parse_source("pvc://models/telco/v1/")
    assert (source.claim, source.claim_path, source.fetched) == ("models", "telco/v1", False)


def test_a_store_names_its_port():
    assert parse_source("https://models.example:8443/telco").port == 8443
    assert parse_source("https://models.example/telco").port == 443
    assert parse_source("s3://models/telco").port is None


def test_an_image_by_digest_tells_it():
    assert parse_source("oci://a/b@sha256:" + "c" * 64).image_digest == "sha256:" + "c" * 64
    assert parse_source("oci://a:5000/b:1").image_digest is None


@pytest.mark.parametrize(
    "uri",
    [
        "", "telco", "oci://", "file:///etc/passwd", "http://plain/x", "https://me@host/x", "https://host/x?token=y",
        "https://host/x#y", "https://host:99999/x", "s3://b/../x", "s3://UPPER/x", "pvc://claim/../../etc",
        "pvc://claim/a b", "oci://a b", "oci://image\n", "s3://bucket/a\nb",
    ],
)  # fmt: skip
def test_other_uris_are_refused(uri: str):
    with pytest.raises(ValueError, match="uri must be"):
        parse_source(uri)
