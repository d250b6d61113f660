"""Alerts, monitors, dashboards: the rules work, the metrics they name exist, every alert has its page."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

import churn_operator.__main__  # noqa: F401  # with it every metric of the process is registered
from churn_dev import packages, tools
from churn_dev.generate import CHART, ROOT, SAMPLES
from churn_dev.kubectl import Object
from churn_operator import names
from churn_operator.metrics import REGISTRY
from churn_serving.server.exposition import Exposition
from churn_serving.server.metrics import Metrics

Render = Callable[..., list[Object]]

VALUES = CHART / "ci/alerts-values.yaml"
PLAYED = Path(__file__).with_name("alerts_test.yaml")
RUNBOOKS = ROOT / "docs/runbooks"
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
SUFFIXES = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
WORDS = {"and", "or", "unless", "by", "on", "group_left"}
OWN = {"up"}
"""Made by Prometheus itself, for every target."""
EACH = {"namespace", "pod", "churnmodel", "le"}
"""Labels of every series: from Prometheus, from our PodMonitor, from the format."""


def of_kind(objects: list[Object], kind: str):
    return [obj for obj in objects if obj["kind"] == kind]


@pytest.fixture(scope="module")
def rules(render: Render) -> list[Object]:
    """The rendered alerts."""
    (rule,) = of_kind(render(VALUES, namespace="ops"), "PrometheusRule")
    return [alert for group in rule["spec"]["groups"] for alert in group["rules"]]


@pytest.fixture(scope="module")
def expressions(rules: list[Object]) -> list[str]:
    """Every PromQL expression of alerts and dashboards."""
    pages = [json.loads(path.read_text()) for path in DASHBOARDS]
    panels = [target["expr"] for page in pages for panel in page["panels"] for target in panel["targets"]]
    lists = [
        each["query"] for page in pages for each in page["templating"]["list"] if each["type"] == "query"
    ]
    return [*(rule["expr"] for rule in rules), *panels, *lists]


@pytest.fixture(scope="module")
def exposition() -> str:
    """What the operator and a server with the sample model say to a scrape."""
    arguments = ["serve", "--model", SAMPLES / "bundle", "--host", "127.0.0.1"]
    with subprocess.Popen(
        [sys.executable, "-m", "churn_serving", *arguments, "--port", "0", "--metrics-port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("CHURN_")},
    ) as server:
        try:
            assert server.stdout is not None
            ready = json.loads(server.stdout.readline())
            for port, path in ((ready["port"], "/health"), (ready["metrics_port"], "/metrics")):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as reply:
                    scraped = reply.read().decode()
        finally:
            server.kill()
    return scraped + generate_latest(REGISTRY).decode()


@pytest.fixture(scope="module")
def labels(exposition: str) -> dict[str, set[str]]:
    """Label names by metric, of what there is nothing to count yet too."""
    found = {name: set(EACH) for name in OWN}
    for registry in (REGISTRY, Exposition(Metrics(), CollectorRegistry())._registry):
        for name, declared in declarations(registry):
            found[name] = {*declared, *EACH}
    for name, pairs in re.findall(r"^(\w+)\{(.*)\} ", exposition, re.MULTILINE):
        found.setdefault(name, set(EACH)).update(re.findall(r'(\w+)="', pairs))
    return found


def declarations(registry: CollectorRegistry) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each series of a registry and its labels, as its collector was made or as it presents them."""
    for collector, series in registry._collector_to_names.items():
        if hasattr(collector, "_labelnames"):
            yield from ((name, collector._labelnames) for name in series)
            continue
        for family in collector.collect():
            for suffix in ("", "_total", "_bucket", "_sum", "_count"):
                yield family.name + suffix, family._labelnames


@pytest.fixture(scope="module")
def promtool(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs promtool beside the rendered rules; gives what it says, fails where it finds fault."""
    program = packages.unpack("prometheus", "usr/bin/promtool")
    here = tmp_path_factory.mktemp("rules")
    (rule,) = of_kind(render(VALUES, namespace="ops"), "PrometheusRule")
    (here / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    (here / PLAYED.name).write_text(PLAYED.read_text())

    def run(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], cwd=here, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def metrics_of(expression: str) -> Iterator[str]:
    """Names of metrics: what is left of an expression without labels, functions, words and numbers."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}", " ", bare)
    bare = re.sub(r"label_values\(\s*(\w+)[^)]*\)", r"\1", bare)
    bare = re.sub(r"\b(by|on) \([^)]*\)", " ", bare)
    bare = re.sub(r"\[[^\]]*\]|\b[0-9.]+\b", " ", bare)
    for name in re.findall(r"\b[a-z]\w*\b(?!\s*\()", bare):
        if name not in WORDS:
            yield name


class TestRules:
    def test_prometheus_accepts_them(self, promtool: Callable[..., str], rules: list[Object]):
        assert f"{len(rules)} rules found" in promtool("check", "rules", "rules.yaml")

    def test_they_fire_and_keep_still_as_played(self, promtool: Callable[..., str]):
        assert "SUCCESS" in promtool("test", "rules", PLAYED.name)

    def test_each_is_played_until_it_fires(self, rules: list[Object]):
        expected = re.findall(r'alertname="(\w+)"', PLAYED.read_text())
        firing = [
            each["alertname"]
            for test in yaml.safe_load(PLAYED.read_text())["tests"]
            for each in test.get("alert_rule_test", ())
            if each.get("exp_alerts")
        ]
        assert {*expected, *firing} == {rule["alert"] for rule in rules}

    def test_each_says_how_bad_it_is_and_what_it_is_about(self, rules: list[Object]):
        for rule in rules:
            assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
            assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}, rule["alert"]

    def test_each_leads_to_its_page_and_each_page_has_its_alert(self, rules: list[Object]):
        pages = {str(path.relative_to(ROOT)) for path in RUNBOOKS.iterdir()}
        assert {rule["annotations"]["runbook_url"] for rule in rules} == pages
        for rule in rules:
            page = (RUNBOOKS / f"{rule['alert']}.md").read_text()
            assert page.startswith(f"# {rule['alert']}\n")
            assert re.findall(r"^\*\*(\w+)\.\*\*", page, re.MULTILINE) == ["Means", "Look", "Do"]

    def test_a_release_of_one_namespace_looks_at_no_other(self, render: Render):
        values = {"namespaced": True, "alerts": {"enabled": True}}
        (rule,) = of_kind(render(values, namespace="mine"), "PrometheusRule")
        for alert in (alert for group in rule["spec"]["groups"] for alert in group["rules"]):
            selectors = re.findall(r"\{([^}]*)\}", alert["expr"])
            assert selectors
            assert [each for each in selectors if 'namespace="mine"' not in each] == [], alert["alert"]

    def test_the_pages_can_lie_elsewhere(self, render: Render):
        values = {"alerts": {"enabled": True, "runbooks": "https://wiki.example/churn/"}}
        assert "https://wiki.example/churn/ChurnModelSlow.md" in str(render(values))


class TestMetrics:
    def test_every_metric_named_is_exposed(self, expressions: list[str], exposition: str):
        families = re.findall(r"^# TYPE (\w+) (\w+)$", exposition, re.MULTILINE)
        exposed = {name + suffix for name, kind in families for suffix in SUFFIXES[kind]}
        named = {name for expression in expressions for name in metrics_of(expression)}
        assert len(named) > 15
        assert named - exposed == OWN

    def test_every_label_asked_for_is_there(self, expressions: list[str], labels: dict[str, set[str]]):
        asked = [pair for each in expressions for pair in re.findall(r"(\w+)\{([^}]*)\}", each)]
        assert len(asked) > 40
        for name, pairs in asked:
            assert set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", pairs)) <= labels[name], (name, pairs)

    def test_every_label_summed_by_is_there(self, expressions: list[str], labels: dict[str, set[str]]):
        for expression in expressions:
            there = set().union(*(labels[name] for name in metrics_of(expression)))
            for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
                assert {label.strip() for label in listed.split(",")} <= there, expression

    @pytest.mark.parametrize(
        ("expression", "named"),
        [
            (
                'sum by (a) (rate(x_total{b="c",d!~"/(e|f)"}[5m])) / on (a) group_left y > 0.05',
                ["x_total", "y"],
            ),
            ('label_values(model_info{namespace="$namespace"}, churnmodel)', ["model_info"]),
            ("time() - max by (kind) (seen_seconds) unless on (a) z", ["seen_seconds", "z"]),
        ],
    )
    def test_a_metric_in_an_expression_is_found(self, expression: str, named: list[str]):
        """So that the tests above can fail."""
        assert list(metrics_of(expression)) == named


class TestMonitors:
    def test_the_operators_selects_the_operators_pods(self, render: Render):
        objects = render(VALUES)
        (deployment,) = of_kind(objects, "Deployment")
        template = deployment["spec"]["template"]
        monitor = of_kind(objects, "PodMonitor")[0]["spec"]
        selector = monitor["selector"]["matchLabels"]
        assert selector.items() <= template["metadata"]["labels"].items()
        ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= ports

    def test_the_models_selects_what_the_operator_makes(self, render: Render):
        monitor = of_kind(render(VALUES), "PodMonitor")[1]["spec"]
        assert monitor["selector"]["matchLabels"].items() <= names.labels("telco").items()
        assert monitor["selector"]["matchExpressions"] == [{"key": names.MODEL_LABEL, "operator": "Exists"}]
        (relabeling,) = monitor["podMetricsEndpoints"][0]["relabelings"]
        mangled = re.sub(r"\W", "_", names.MODEL_LABEL)
        assert relabeling["sourceLabels"] == [f"__meta_kubernetes_pod_label_{mangled}"]

    @pytest.mark.parametrize(("namespaced", "reach"), [(False, {"any": True}), (True, None)])
    def test_models_are_found_where_the_operator_watches(
        self, render: Render, namespaced: bool, reach: Object | None
    ):
        monitor = of_kind(render({"namespaced": namespaced, "monitors": {"enabled": True}}), "PodMonitor")[1]
        assert monitor["spec"].get("namespaceSelector") == reach


def test_the_sidecar_gets_every_dashboard(render: Render):
    maps = [
        obj
        for obj in of_kind(render(VALUES), "ConfigMap")
        if "grafana_dashboard" in obj["metadata"]["labels"]
    ]
    given = [json.loads(text) for each in maps for text in each["data"].values()]
    assert given == [json.loads(path.read_text()) for path in DASHBOARDS]
    assert len(given) == 2


@pytest.fixture(params=sorted((CHART / "ci").glob("*-values.yaml")), ids=lambda path: path.stem)
def chart_values(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_helm_finds_no_fault_with_the_chart(chart_values: Path):
    command = [tools.path("helm"), "lint", "--strict", CHART, f"--values={chart_values}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
