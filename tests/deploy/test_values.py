"""The chart's values: what is misspelt is refused, what is set is heeded."""

import json
from collections.abc import Callable

import pytest
import yaml

from churn_dev.chart_values import SETTINGS, camel_case, described_values, strict
from churn_dev.generate import CHART
from churn_dev.kubectl import Object

Render = Callable[..., list[Object]]

DIGEST = "sha256:" + "0" * 64
TELCO = {"model": {"uri": "pvc://models/telco", "digest": DIGEST}}

# Some other value for each one. Those that do nothing alone come with what they need.
OTHER = {
    "image.repository": {"image": {"repository": "registry.example/operator"}},
    "image.tag": {"image": {"tag": "9"}},
    "image.digest": {"image": {"digest": DIGEST}},
    "image.pullPolicy": {"image": {"pullPolicy": "Always"}},
    "imagePullSecrets": {"imagePullSecrets": [{"name": "registry"}]},
    "namespaced": {"namespaced": True},
    "upgradeCRD": {"upgradeCRD": False},
    "serving.image.repository": {"serving": {"image": {"repository": "registry.example/serving"}}},
    "serving.image.tag": {"serving": {"image": {"tag": "9"}}},
    "serving.image.digest": {"serving": {"image": {"digest": DIGEST}}},
    "serving.imagePrefixes": {"serving": {"imagePrefixes": ["registry.example"]}},
    "serving.resources": {"serving": {"resources": {"limits": {"memory": "1Gi"}}}},
    "models": {"models": {"telco": TELCO}},
    "metrics.namespaces": {"metrics": {"namespaces": ["monitoring"]}},
    "metrics.service": {"metrics": {"service": True}},
    "monitors.enabled": {"monitors": {"enabled": True}},
    "monitors.labels": {"monitors": {"enabled": True, "labels": {"release": "prometheus"}}},
    "monitors.interval": {"monitors": {"enabled": True, "interval": "1m"}},
    "alerts.enabled": {"alerts": {"enabled": True}},
    "alerts.labels": {"alerts": {"enabled": True, "labels": {"release": "prometheus"}}},
    "alerts.runbooks": {"alerts": {"enabled": True, "runbooks": "https://wiki.example"}},
    "alerts.latencySeconds": {"alerts": {"enabled": True, "latencySeconds": 1}},
    "dashboards.enabled": {"dashboards": {"enabled": True}},
    "dashboards.labels": {"dashboards": {"enabled": True, "labels": {"dashboards": "churn"}}},
    "replicas": {"replicas": 2},
    "networkPolicy": {"networkPolicy": True},
    "aggregateRoles": {"aggregateRoles": True},
    "logLevel": {"logLevel": "debug"},
    "settings": {"settings": {"workers": 3}},
    "resources": {"resources": {"limits": {"memory": "1Gi"}}},
    "priorityClassName": {"priorityClassName": "high"},
    "nodeSelector": {"nodeSelector": {"disk": "ssd"}},
    "tolerations": {"tolerations": [{"operator": "Exists"}]},
    "podLabels": {"podLabels": {"team": "churn"}},
}

REFUSED = {
    "a value that does not exist": ({"imagePullPolicy": "Always"}, "imagePullPolicy"),
    "a misspelt value inside a section": ({"image": {"tga": "1"}}, "tga"),
    "a misspelt kind of resource": ({"resources": {"request": {"cpu": 1}}}, "request"),
    "text where a switch stands": ({"namespaced": "yes"}, "/namespaced"),
    "a number where text stands": ({"image": {"tag": 1.0}}, "/image/tag"),
    "a digest without its algorithm": ({"image": {"digest": "0" * 64}}, "/image/digest"),
    "a log level that does not exist": ({"logLevel": "loud"}, "/logLevel"),
    "no operator at all": ({"replicas": 0}, "/replicas"),
    "a limit of no time at all": ({"alerts": {"latencySeconds": 0}}, "/alerts/latencySeconds"),
    "an interval without its unit": ({"monitors": {"interval": "30"}}, "/monitors/interval"),
    "an image prefix that allows everything": (
        {"serving": {"imagePrefixes": [""]}},
        "/serving/imagePrefixes",
    ),
    "a namespace that is not a list": ({"metrics": {"namespaces": "monitoring"}}, "/metrics/namespaces"),
    "a setting that does not exist": ({"settings": {"worker": 1}}, "worker"),
    "a setting out of its range": ({"settings": {"workers": 0}}, "/settings/workers"),
    "a setting that has a value of its own": ({"settings": {"logLevel": "debug"}}, "logLevel"),
    "a model's name that Kubernetes refuses": ({"models": {"Telco": TELCO}}, "Telco"),
    "a model without its uri": ({"models": {"telco": {"model": {"digest": DIGEST}}}}, "/models/telco/model"),
    "a misspelt field of a model": ({"models": {"telco": {**TELCO, "replica": 1}}}, "replica"),
    "a model's field of the wrong type": (
        {"models": {"telco": {**TELCO, "replicas": "2"}}},
        "/models/telco/replicas",
    ),
}


@pytest.mark.parametrize(("values", "named"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_field_named(render: Render, values: Object, named: str):
    with pytest.raises(ValueError, match=rf"values don't meet the specifications[\s\S]*{named}"):
        render(values)


def test_every_value_is_tried_below():
    names = [name for name, _, _ in described_values((CHART / "values.yaml").read_text())]
    assert list(OTHER) == names


@pytest.mark.parametrize("name", OTHER)
def test_every_value_changes_what_is_rendered(render: Render, name: str):
    """Beside its section's switch, where it has one."""
    section, _, leaf = name.partition(".")
    switch = {section: {"enabled": True}} if f"{section}.enabled" in OTHER and leaf != "enabled" else {}
    assert render(OTHER[name]) != render(switch)


def test_a_setting_reaches_the_operator(render: Render):
    values = {"settings": {"storePorts": [443, 9000], "maxBundleBytes": 2**31}}
    (deployment,) = [obj for obj in render(values) if obj["kind"] == "Deployment"]
    variables = {
        each["name"]: each.get("value")
        for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert json.loads(variables["CHURN_OPERATOR_STORE_PORTS"]) == [443, 9000]
    assert variables["CHURN_OPERATOR_MAX_BUNDLE_BYTES"] == "2147483648"


@pytest.mark.parametrize("name", SETTINGS)
def test_the_schema_lets_every_other_setting_through(name: str):
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert camel_case(name) in schema["properties"]["settings"]["properties"]


def test_the_schema_knows_every_value():
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert (
        schema["properties"].keys() - {"global"} == yaml.safe_load((CHART / "values.yaml").read_text()).keys()
    )


class TestSchemaOfTheSpec:
    """What `strict` makes of a CRD's schema."""

    def test_unknown_fields_are_refused_at_every_depth(self):
        leaf = {"type": "object", "properties": {"b": {"type": "string"}}}
        closed = strict({"type": "object", "properties": {"a": {"type": "array", "items": leaf}}})
        assert closed["additionalProperties"] is False
        assert closed["properties"]["a"]["items"]["additionalProperties"] is False

    def test_a_map_of_any_names_stays_open(self):
        labels = {"type": "object", "additionalProperties": {"type": "string"}}
        assert strict(labels) == labels

    def test_an_exclusive_bound_becomes_a_number(self):
        assert strict({"type": "number", "minimum": 0, "exclusiveMinimum": True}) == {
            "type": "number",
            "exclusiveMinimum": 0,
        }

    def test_a_nullable_field_takes_null(self):
        assert strict({"type": "string", "nullable": True}) == {"type": ["string", "null"]}

    def test_a_quantity_is_a_number_or_text(self):
        assert strict({"x-kubernetes-int-or-string": True, "pattern": "x"}) == {"type": ["integer", "string"]}

    def test_rules_of_the_api_server_are_left_to_it(self):
        assert strict({"type": "string", "x-kubernetes-validations": [{"rule": "true"}]}) == {
            "type": "string"
        }
