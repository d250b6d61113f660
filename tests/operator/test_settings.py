import pytest

from churn_operator.settings import PREFIX, Settings, read_settings


def test_every_setting_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"{PREFIX}NAMESPACE", "shop")
    monkeypatch.setenv(f"{PREFIX}METRICS_NAMESPACES", '["monitoring"]')
    monkeypatch.setenv(f"{PREFIX}SERVING_RESOURCES", '{"limits": {"memory": "1Gi"}}')
    settings = read_settings()
    assert (settings.namespace, settings.metrics_namespaces) == ("shop", ("monitoring",))
    assert settings.serving_resources.wire() == {"limits": {"memory": "1Gi"}}


def test_a_misspelt_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"{PREFIX}NAMESPCE", "shop")
    with pytest.raises(ValueError, match="unknown setting CHURN_OPERATOR_NAMESPCE"):
        read_settings()


def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(f"{PREFIX}WORKERS", "0")
    with pytest.raises(ValueError, match="workers"):
        read_settings()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"pre_stop_seconds": 24}, "grace_period_seconds 30 .* pre_stop_seconds 24 set it to at least 31"),
        ({"pre_stop_seconds": 4, "grace_period_seconds": 10}, "at least 11"),
        (
            {"min_ready_seconds": 60, "progress_deadline_seconds": 60},
            "min_ready_seconds 60 must be below progress_deadline_seconds 60",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_name(settings: dict[str, int], told: str):
    with pytest.raises(ValueError, match=told):
        Settings.model_validate(settings)


@pytest.mark.parametrize(
    "variable",
    ["SERVICE_HOST", "PORT", "PORT_8080_TCP_ADDR", "PROBES_SERVICE_PORT_HTTP", "PROBES_PORT_80_TCP"],
)
def test_what_kubernetes_puts_there_for_services_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str
):
    monkeypatch.setenv(PREFIX + variable, "tcp://10.0.0.1:80")
    read_settings()
