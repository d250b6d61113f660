"""Bundles that are spoilt on purpose are spoilt in the way they say."""

from pathlib import Path

import pytest

from churn_dev.bundles import digest_of, falsify, truncate
from churn_dev.paths import ROOT
from churn_serving.bundle.read import read_bundle
from churn_serving.errors import FileMismatchError, GoldenMismatchError
from churn_serving.model import load_model

SAMPLE = ROOT / "k8s/samples/bundle"


def test_a_truncated_bundle_no_longer_fits_its_sums(tmp_path: Path) -> None:
    truncate(SAMPLE, tmp_path / "bundle")
    assert digest_of(tmp_path / "bundle") == digest_of(SAMPLE)
    with pytest.raises(FileMismatchError):
        load_model(tmp_path / "bundle", digest_of(SAMPLE))


def test_a_falsified_bundle_fits_its_sums_and_not_its_golden_rows(tmp_path: Path) -> None:
    falsify(SAMPLE, tmp_path / "bundle")
    read_bundle(tmp_path / "bundle", digest_of(tmp_path / "bundle"))
    with pytest.raises(GoldenMismatchError):
        load_model(tmp_path / "bundle", digest_of(tmp_path / "bundle"))
