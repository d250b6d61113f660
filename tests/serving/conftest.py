"""Bundles, a second data set and servers for the tests of churn-serving."""

import csv
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from threadpoolctl import threadpool_limits

from churn_dev.stores import TokenHandler, https_store, write_certificate
from churn_serving.bundle.write import write_files
from churn_serving.features import Encoder
from churn_serving.model import Model, load_model
from churn_serving.train.classifiers import Algorithm
from churn_serving.train.train import TrainingPlan, train

ROOT = Path(__file__).parents[2]
TELCO_CSV = ROOT / "dev/data/telco-customer-churn.csv"
SAMPLE = ROOT / "k8s/samples/bundle"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("CHURN_", "AWS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Many threads for few rows wait for each other most of the time."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture
def telco(tmp_path: Path) -> Path:
    """A copy of the sample bundle, to break."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "telco"))


@pytest.fixture(scope="session")
def telco_model() -> Model:
    return load_model(SAMPLE)


@pytest.fixture(scope="session")
def steep_model(telco_model: Model) -> Model:
    """The sample's model, whose graph overflows at `tenure` -1.6e38."""
    features = [
        msgspec.structs.replace(feature, scale=0.5) if feature.name == "tenure" else feature
        for feature in telco_model.manifest.features
    ]
    manifest = msgspec.structs.replace(telco_model.manifest, features=features)
    return replace(telco_model, manifest=manifest, encoder=Encoder(manifest))


@pytest.fixture(scope="session")
def shop_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other customers: an integer id, numbers with gaps, large numbers, texts, true/false, target 0/1."""
    path = tmp_path_factory.mktemp("shop") / "shop.csv"
    rng = random.Random(7)  # noqa: S311 (a data set, not a secret)
    with path.open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(
            ["account", "age", "balance", "plan", "newsletter", "visits", "region", "joined", "left"]
        )
        for account in range(600):
            visits = rng.randint(0, 30)
            plan = rng.choice(["basic", "plus", "pro, yearly", ""])
            newsletter = rng.random() < 0.4
            leaves = rng.random() < 0.5 - 0.015 * visits + 0.2 * (plan == "basic")
            write.writerow(
                [
                    90_000 + account,
                    rng.choice(["", round(rng.uniform(18, 80), 1)]),
                    round(rng.gauss(50_000_000, 1_000), 2),
                    plan,
                    str(newsletter),
                    visits,
                    rng.choice(["Zürich", "東京", "O'Hare"]),
                    f"2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
                    int(leaves),
                ]
            )
    return path


@pytest.fixture(scope="session")
def shop(shop_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradient boosting bundle of the shop's customers."""
    directory = tmp_path_factory.mktemp("shop-bundle") / "bundle"
    trained = train(shop_plan(shop_csv, algorithm=Algorithm.GRADIENT_BOOSTING))
    write_files(directory, trained.files)
    return directory


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1, its own authority."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    write_certificate(path, "127.0.0.1")
    return path


@pytest.fixture
def web(tmp_path: Path, certificate: Path) -> Iterator[tuple[str, Path]]:
    """An HTTPS server over a folder that holds the sample bundle as `telco`; see `fetching`."""
    from .fetching import Misbehaving

    root = tmp_path / "web"
    for name in ("telco", "endless", "cut", "empty"):
        shutil.copytree(SAMPLE, root / name)
    with https_store(root, "127.0.0.1", certificate, Misbehaving) as url:
        yield url, root


@pytest.fixture
def trusted(certificate: Path) -> dict[str, str]:
    return {"SSL_CERT_FILE": str(certificate), "CHURN_FETCH_TOKEN": TokenHandler.token}


def shop_plan(data: Path, **changes: object) -> TrainingPlan:
    plan = {
        "data": data,
        "target": "left",
        "positive": "1",
        "name": "shop",
        "version": "3",
        "id_column": "account",
        "drop": ["joined"],
    }
    return TrainingPlan(**(plan | changes))  # type: ignore[arg-type]
