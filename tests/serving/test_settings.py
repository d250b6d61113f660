"""Options, environment and defaults."""

from pathlib import Path

import pytest

from churn_serving.errors import ConfigInvalidError
from churn_serving.settings import describe_settings, load_settings


def test_an_option_beats_the_environment_and_that_the_default():
    settings = load_settings({"model": "m", "port": "1"}, {"CHURN_PORT": "2", "CHURN_METRICS_PORT": "3"})
    assert (settings.model, settings.port, settings.metrics_port) == (Path("m"), 1, 3)
    assert settings.max_records == 10_000


def test_a_service_called_churn_does_not_break_the_port():
    """Kubernetes then sets CHURN_PORT in every pod of the namespace."""
    assert load_settings({"model": "m"}, {"CHURN_PORT": "tcp://10.0.0.1:80"}).port == 8080


@pytest.mark.parametrize(
    "environ",
    [
        {"CHURN_PORT": "http"},
        {"CHURN_PORT": "70000"},
        {"CHURN_DRAIN_SECONDS": "-1"},
        {"CHURN_DRAIN_SECONDS": "30"},
        {"CHURN_ACCESS_LOG": "perhaps"},
        {"CHURN_MAX_RECORDS": "0"},
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str]):
    with pytest.raises(ConfigInvalidError) as refused:
        load_settings({"model": "m"}, environ)
    assert next(iter(environ)).removeprefix("CHURN_").lower() in str(refused.value)


def test_every_setting_says_what_it_is_for():
    assert all(text.endswith(".") for _, text, _ in describe_settings())
