"""Which Go toolchain is new enough."""

import pytest

from churn_dev import golang


@pytest.mark.parametrize(
    ("older", "newer"), [("go1.9.7", "1.26"), ("1.26", "go1.26.6"), ("1.26.6", "1.26.10"), ("", "1.26")]
)
def test_versions_compare_by_number(older: str, newer: str):
    assert golang.parse_version(older) < golang.parse_version(newer)


def test_a_release_candidate_counts_as_its_release():
    assert golang.parse_version("go1.26rc1") == golang.parse_version("1.26")
