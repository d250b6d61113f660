"""What is read from the load generator's output."""

import pytest

from churn_dev.wrk import Load, read_wrk

PRINTED = """
  Latency Distribution
     50%  704.00us
     99%    1.42ms
  84210 requests in 4.00s, 25.30MB read
{more}Requests/sec:  21052.51
"""


def test_rate_and_median_are_read():
    assert read_wrk(PRINTED.format(more="")) == Load(21052.51, pytest.approx(704e-6))


def test_a_median_in_milliseconds_is_read_as_such():
    assert read_wrk(PRINTED.format(more="").replace("704.00us", "2.36ms")).median == pytest.approx(2.36e-3)


@pytest.mark.parametrize(
    "failed", ["  Non-2xx or 3xx responses: 7\n", "  Socket errors: connect 0, read 3, write 0, timeout 0\n"]
)
def test_failed_requests_are_no_figure(failed: str):
    with pytest.raises(ValueError, match="requests failed"):
        read_wrk(PRINTED.format(more=failed))
