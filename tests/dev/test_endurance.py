"""Growth of memory is told of the time after everything has filled up once."""

import pytest

from churn_dev.endurance import Endured


def test_what_fills_up_once_is_no_growth():
    seen = [(100_000 * n, 70.0 + min(n, 3) * 5) for n in range(1, 11)]
    assert Endured(seen).growth == pytest.approx(0)


def test_a_byte_a_request_is_a_megabyte_in_a_million():
    seen = [(100_000 * n, 70.0 + 0.1 * n) for n in range(1, 11)]
    assert Endured(seen).growth == pytest.approx(1)
    assert [figure.met for figure in Endured(seen).figures()] == [True, True, None]


def test_a_leak_misses_the_goal():
    seen = [(100_000 * n, 70.0 + n) for n in range(1, 11)]
    assert [figure.met for figure in Endured(seen).figures()] == [True, False, None]


def test_the_first_round_of_each_kind_is_no_growth():
    seen = [(n * 100_000, memory) for n, memory in enumerate([70.0, 75.0, 80.0, 85.0, 90.0, *[90.0] * 6], 1)]
    assert Endured(seen, kinds=5).growth == pytest.approx(0)
    assert Endured(seen, kinds=1).growth > 1
