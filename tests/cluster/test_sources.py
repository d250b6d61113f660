"""Bundles from stores: an init container fetches them, checked before use."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from churn_dev import builder, images
from churn_dev.bundles import Models
from churn_dev.churnmodel import churn_model, predict, service_url, wait_ready
from churn_dev.cluster import Cluster
from churn_dev.kubectl import Kubectl, Object, condition, wait_until
from churn_dev.stores import TokenHandler, https_store, s3_store, write_certificate

pytestmark = pytest.mark.cluster

TRUSTING = "docker.io/churnops/test-serving-with-authority:1"


@pytest.fixture
def s3(cluster: Cluster, models: Models, tmp_path: Path) -> Iterator[dict[str, str]]:
    shutil.copytree(models.first.directory, tmp_path / "s3/models/telco/1")
    with s3_store(tmp_path / "s3", cluster.host_address) as settings:
        yield dict(settings)


@pytest.fixture
def https(cluster: Cluster, models: Models, tmp_path: Path) -> Iterator[str]:
    """A server whose certificate only the image TRUSTING knows."""
    write_certificate(tmp_path / "both.pem", cluster.host_address)
    shutil.copytree(models.first.directory, tmp_path / "web/telco")
    serving = list(images.PRODUCT)[1]
    recipe = f"FROM {serving}\nCOPY both.pem /authority.pem\nENV SSL_CERT_FILE=/authority.pem\n"
    builder.build(TRUSTING, recipe, tmp_path, inputs=str(tmp_path))
    cluster.load_image(TRUSTING)
    with https_store(tmp_path / "web", cluster.host_address, tmp_path / "both.pem") as url:
        yield url


def _secret(name: str, values: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


@pytest.fixture
def s3_model(namespace: Kubectl, models: Models, s3: dict[str, str]) -> Object:
    """`spec.model` of a bundle in the bucket, whose Secret is there."""
    namespace.apply(_secret("store", s3))
    return {"uri": "s3://models/telco/1", "digest": models.first.digest, "credentialsSecret": "store"}


def test_a_bundle_comes_from_s3_and_only_the_container_that_fetches_sees_the_credentials(
    namespace: Kubectl, customers: list[Object], s3_model: Object
) -> None:
    namespace.apply(churn_model("telco", s3_model))
    wait_ready(namespace, "telco")
    assert len(predict(service_url(namespace, "telco"), customers)["predictions"]) == len(customers)
    (pod,) = namespace.list("pods")
    (server,) = pod["spec"]["containers"]
    assert not {"env", "envFrom"} & server.keys()
    assert pod["spec"]["initContainers"][0]["envFrom"] == [{"secretRef": {"name": "store"}}]


def test_a_bundle_comes_over_https_with_a_token(
    namespace: Kubectl, models: Models, customers: list[Object], https: str
) -> None:
    namespace.apply(_secret("store", {"token": TokenHandler.token}))
    model = {"uri": f"{https}/telco", "digest": models.first.digest, "credentialsSecret": "store"}
    trusting = churn_model("telco", model)
    trusting["spec"]["serving"] |= {"image": TRUSTING}
    namespace.apply(trusting)
    wait_ready(namespace, "telco")
    assert len(predict(service_url(namespace, "telco"), customers)["predictions"]) == len(customers)


def test_a_missing_bundle_shows_the_reason_of_the_container_that_fetches(
    namespace: Kubectl, s3_model: Object
) -> None:
    namespace.apply(churn_model("telco", s3_model | {"uri": "s3://models/telco/2"}))

    def refused() -> Object | None:
        said = condition(namespace.get("churnmodel", "telco"), "ModelLoaded")
        return said if said.get("reason") == "BundleIncomplete" else None

    said = wait_until(refused, "ModelLoaded says BundleIncomplete")
    assert said["status"] == "False"
    assert "SHA256SUMS" in said["message"]
