"""Quantiles of what was observed between two scrapes."""

import pytest

from churn_dev.histogram import Histogram

SCRAPE = """# TYPE late histogram
late_bucket{le="0.01"} 100.0
late_bucket{le="0.05"} 100.0
late_bucket{le="+Inf"} 100.0
late_count 100.0
"""
LATER = Histogram({0.01: 190.0, 0.05: 199.0, float("inf"): 200.0})


def test_the_rest_before_does_not_thin_out_what_came_after():
    before = Histogram.read(SCRAPE, "late")
    assert before.around(0.99) == (0.0, 0.01)
    assert LATER.since(before).around(0.95) == (0.01, 0.05)
    assert LATER.since(before).around(1) == (0.05, float("inf"))
    assert LATER.since(before).total == 100


def test_of_nothing_there_is_no_quantile():
    before = Histogram.read(SCRAPE, "late")
    with pytest.raises(ValueError, match="nothing was observed"):
        before.since(before).around(0.99)
