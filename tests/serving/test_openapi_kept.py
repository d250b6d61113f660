"""The server keeps to its own OpenAPI document: schemathesis asks for what it allows and what it does not."""

from churn_dev import fuzz_serving

from .conftest import SAMPLE


def test_a_hundred_made_up_requests_find_no_server_error_and_no_violation():
    fuzzed = fuzz_serving.run(SAMPLE, cases=100, seed=20_261_121, phases="examples,fuzzing")
    assert fuzzed.cases >= 100
    assert not fuzzed.failures, fuzzed.log
