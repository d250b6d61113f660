"""What operator, server, chart and images agree on: each side says it once, here they are compared."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import yaml
from pydantic import ValidationError

from churn_dev.generate import CHART, ROOT, SAMPLES
from churn_dev.kubectl import Object
from churn_operator import names
from churn_operator.api import decision as api
from churn_operator.api.conditions import CONTAINER_REASONS
from churn_operator.api.v1alpha1 import parse_spec
from churn_operator.decide import Plan
from churn_operator.desired.access import build_access
from churn_operator.desired.config_map import build_entry
from churn_operator.errors import InvalidSpecError
from churn_operator.revision import revision_of
from churn_operator.settings import PREFIX, Settings
from churn_serving import decisions
from churn_serving import errors as serving_errors
from churn_serving import settings as serving_settings
from churn_serving.routing import RevisionEntry

Render = Callable[..., list[Object]]

SERVING = serving_settings.Settings()
OPERATOR = Settings()
EVERYTHING = CHART / "ci/everything-values.yaml"


def operator_pod(objects: list[Object]):
    (deployment,) = [obj for obj in objects if obj["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


class TestOperatorAndServer:
    def test_ports(self):
        assert (SERVING.port, SERVING.metrics_port) == (names.HTTP_PORT, names.METRICS_PORT)

    def test_the_server_speaks_grpc_on_the_port_that_the_service_has(self):
        read = serving_settings.load_settings({"model": "m"}, {names.GRPC_PORT_ENV: str(names.GRPC_PORT)})
        assert read.grpc_port == names.GRPC_PORT

    def test_where_the_bundles_lie(self):
        assert Path(names.MODELS_DIR) == SERVING.models_dir

    def test_reasons_of_a_container_that_failed(self):
        errors = [serving_errors.ChurnServingError]
        for error in errors:
            errors.extend(error.__subclasses__())
        said_by_serve_and_fetch = {error.reason for error in errors} - {"ChurnServing", "Bundle", "Data"}
        assert said_by_serve_and_fetch == {str(reason) for reason in CONTAINER_REASONS}

    def test_the_server_reads_all_that_the_operator_says_of_a_revision(self):
        spec = spec_of(decision={"threshold": 0.4})
        spec = spec.model_copy(update={"model": spec.model.model_copy(update={"max_scoring_millis": 5})})
        entry = build_entry(Plan(spec, revision_of(spec, OPERATOR)))
        assert msgspec.to_builtins(msgspec.convert(entry, RevisionEntry)) == entry

    @pytest.mark.parametrize(
        ("serving", "told"),
        [
            ({}, {}),
            (
                {"auth": {"apiKeysSecret": "keys"}},
                {"auth": "keys", "auth_keys": Path("/etc/churn-auth/keys.json")},
            ),
            (
                {"auth": {"jwt": {"issuer": "i", "audience": "a", "scope": "s", "jwksSecret": "keys"}}},
                {
                    "auth": "jwt",
                    "auth_jwks": Path("/etc/churn-auth/jwks.json"),
                    "auth_issuer": "i",
                    "auth_audience": "a",
                    "auth_scope": "s",
                },
            ),
            (
                {"tls": {"secretName": "certificate"}},
                {
                    "tls_certificate": Path("/etc/churn-tls/tls.crt"),
                    "tls_key": Path("/etc/churn-tls/tls.key"),
                },
            ),
            (
                {
                    "allowedHosts": ["churn", "*.churn.example", "[::1]"],
                    "corsOrigins": ["*", "https://crm.example:8443"],
                },
                {
                    "allowed_hosts": "churn,*.churn.example,[::1]",
                    "cors_origins": "*,https://crm.example:8443",
                },
            ),
        ],
        ids=str,
    )
    def test_the_server_reads_who_may_ask_where_the_pod_has_it(self, serving: Object, told: Object):
        access = build_access(spec_of(serving=serving).serving)
        environ = {each["name"]: each["value"] for each in access.env}
        read = serving_settings.load_settings({"model": "m"}, environ)
        plain = serving_settings.load_settings({"model": "m"}, {})
        assert dict(differing(read, plain)) == told
        files = {
            Path(mount["mountPath"]) / item["path"]
            for mount in access.mounts
            for volume in access.volumes
            if volume["name"] == mount["name"]
            for item in (volume.get("secret") or volume["configMap"])["items"]
        }
        assert files == {value for value in told.values() if isinstance(value, Path)}

    def test_how_long_the_server_takes_to_leave(self):
        told = (names.SERVER_DRAIN_SECONDS, names.SERVER_DEADLINE_SECONDS)
        assert told == (SERVING.drain_seconds, SERVING.deadline_seconds)
        variables = {
            f"{serving_settings.PREFIX}{name.upper()}" for name in ("drain_seconds", "deadline_seconds")
        }
        assert {names.DRAIN_ENV, names.DEADLINE_ENV} == variables

    def test_the_server_ends_before_the_pod_is_killed(self):
        assert OPERATOR.pre_stop_seconds + SERVING.deadline_seconds < OPERATOR.grace_period_seconds


def differing(
    one: serving_settings.Settings, other: serving_settings.Settings
) -> Iterator[tuple[str, object]]:
    for name in one.__struct_fields__:
        if getattr(one, name) != getattr(other, name):
            yield name, getattr(one, name)


DECISIONS: tuple[Object, ...] = (
    {"threshold": 0.42},
    {"capacity": 0.1},
    {"costs": {"contact": 5, "value": 300}},
    {"costs": {"contact": 5, "value": 300, "success": 0.25}},
)


class TestDecisions:
    @pytest.mark.parametrize("said", DECISIONS, ids=str)
    def test_what_the_author_says_is_what_the_server_reads(self, said: Object):
        read = msgspec.convert(spec_of(decision=said).decision.wire(), decisions.Decision)
        costs = {"costs": {"success": 1.0} | said["costs"]} if "costs" in said else said
        assert msgspec.to_builtins(read) == costs

    def test_both_know_the_same_ways_and_amounts(self):
        ways = (api.Decision.model_fields, decisions.Decision.__struct_fields__)
        amounts = (api.Costs.model_fields, decisions.Costs.__struct_fields__)
        assert set(ways[0]) == set(ways[1])
        assert set(amounts[0]) == set(amounts[1])

    @pytest.mark.parametrize(
        "said",
        [
            {},
            {"threshold": 1},
            {"capacity": 0},
            {"threshold": 0.4, "capacity": 0.1},
            {"costs": {"contact": 0, "value": 300}},
            {"costs": {"contact": 5, "value": 300, "success": 1.1}},
            {"costs": {"contact": 50, "value": 100, "success": 0.5}},
        ],
        ids=str,
    )
    def test_what_the_server_would_refuse_is_no_valid_spec(self, said: Object):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(said, decisions.Decision)
        with pytest.raises(InvalidSpecError, match=r"spec\.decision"):
            spec_of(decision=said)


def spec_of(**spec: Object):
    model = {"uri": "oci://registry.example/telco:1", "digest": "sha256:" + "0" * 64}
    return parse_spec({"spec": {"model": model} | spec})


class TestChartAndOperator:
    def test_every_variable_is_a_setting(self, render: Render):
        variables = {
            variable["name"] for variable in operator_pod(render(EVERYTHING))["containers"][0]["env"]
        }
        known = {PREFIX + field.upper() for field in Settings.model_fields}
        assert variables - known == set()
        assert len(variables) > 4

    def test_what_the_chart_sets_by_default_the_operator_accepts(
        self, render: Render, monkeypatch: pytest.MonkeyPatch
    ):
        for variable in operator_pod(render(EVERYTHING))["containers"][0]["env"]:
            monkeypatch.setenv(variable["name"], variable["value"])
        settings = Settings()
        assert settings.serving_image == "registry.example/churn-serving@sha256:" + "0" * 64
        assert settings.metrics_namespaces == ("monitoring",)
        assert settings.store_ports == (443, 9000)
        assert settings.workers == 4

    @pytest.mark.parametrize(
        ("accepted", "refused"),
        [
            ({"preStopSeconds": 23}, {"preStopSeconds": 24}),
            ({"minReadySeconds": 300}, {"minReadySeconds": 300, "progressDeadlineSeconds": 300}),
            (
                {"gracePeriodSeconds": 10, "minReadySeconds": 9, "progressDeadlineSeconds": 10},
                {"gracePeriodSeconds": 10, "preStopSeconds": 4},
            ),
        ],
        ids=str,
    )
    def test_both_refuse_the_settings_that_contradict_each_other(
        self, render: Render, accepted: dict[str, int], refused: dict[str, int]
    ):
        """The chart first: an operator that refuses to start is found out when it is too late."""
        render({"settings": accepted})
        Settings.model_validate(in_snake_case(accepted))
        with pytest.raises(ValueError, match=r"settings\.[a-zA-Z]+ [0-9]+ (ends|must)"):
            render({"settings": refused})
        with pytest.raises(ValidationError, match=r"[a-z_]+ [0-9]+ (ends|must)"):
            Settings.model_validate(in_snake_case(refused))

    def test_ports_and_probes(self, render: Render):
        (container,) = operator_pod(render())["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"health": OPERATOR.health_port, "metrics": OPERATOR.metrics_port}
        assert container["livenessProbe"]["httpGet"] == {"path": names.LIVEZ, "port": "health"}
        assert container["readinessProbe"]["httpGet"] == {"path": names.READYZ, "port": "health"}

    def test_the_log_level_is_the_operators_default(self):
        assert yaml.safe_load((CHART / "values.yaml").read_text())["logLevel"] == OPERATOR.log_level

    def test_the_serving_image_is_the_operators_default(self, render: Render):
        variables = {each["name"]: each for each in operator_pod(render())["containers"][0]["env"]}
        assert variables[f"{PREFIX}SERVING_IMAGE"]["value"] == OPERATOR.serving_image


def in_snake_case(values: dict[str, int]) -> dict[str, int]:
    return {
        re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): value for name, value in values.items()
    }


class TestVersions:
    CHART = yaml.safe_load((CHART / "Chart.yaml").read_text())

    def test_chart_and_packages_are_of_one_version(self):
        version = self.CHART["appVersion"]
        for member in ("operator", "serving"):
            assert f'\nversion = "{version}"\n' in (ROOT / member / "pyproject.toml").read_text()
            assert f"\nARG VERSION={version}\n" in (ROOT / f"Dockerfile.{member}").read_text()

    def test_samples_run_in_the_serving_image_of_the_chart(self):
        images = set(
            re.findall(r"image: (\S+churn-serving\S+)", "".join(map(Path.read_text, SAMPLES.glob("*.yaml"))))
        )
        assert images == {OPERATOR.serving_image}


def test_the_samples_pin_the_bundle_that_lies_beside_them():
    import hashlib

    digest = "sha256:" + hashlib.sha256((SAMPLES / "bundle/SHA256SUMS").read_bytes()).hexdigest()
    samples = [obj for path in SAMPLES.glob("*.yaml") for obj in yaml.safe_load_all(path.read_text())]
    models = [obj["spec"]["model"] for obj in samples if obj["kind"] == "ChurnModel"]
    assert len(models) == 3
    assert {model["digest"] for model in models} == {digest}


def test_the_values_schema_is_one_that_helm_3_reads():
    """Helm before 3.18 knows draft 7 and nothing later."""
    assert (
        json.loads((CHART / "values.schema.json").read_text())["$schema"]
        == "http://json-schema.org/draft-07/schema#"
    )
