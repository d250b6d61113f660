import json
from dataclasses import replace
from typing import Any

import pytest

from churn_operator.api.serving import ResourceRequirements
from churn_operator.desired.deployment import kept_replicas
from churn_operator.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SERVICE,
)
from churn_operator.settings import Settings

AUTOSCALING = {"minReplicas": 2, "maxReplicas": 9, "targetCPUUtilizationPercentage": 50}
S3 = {"uri": "s3://bucket/telco", "digest": "sha256:" + "a" * 64, "credentialsSecret": "store"}
HTTPS = S3 | {"uri": "https://models.example:8443/telco"}


def pod_of(world: Any):
    return world.desired.children[DEPLOYMENT]["spec"]["template"]["spec"]


def container(world: Any, kind: Any = "containers"):
    (only,) = pod_of(world)[kind]
    return only


def entries(world: Any):
    return json.loads(world.desired.children[CONFIG_MAP]["data"]["serving.json"])["revisions"]


def without_settings(world: Any):
    """Somebody deleted the ConfigMap."""
    return replace(world, children={k: child for k, child in world.children.items() if k is not CONFIG_MAP})


def test_the_same_input_gives_the_same_objects(world: Any):
    assert world.desired == world.desired
    assert world.applied().desired.children == world.applied().desired.children


def test_what_is_applied_is_what_is_wanted_next_time(world: Any):
    """Nothing in a child depends on the moment: a second pass would write nothing."""
    again = world.applied().desired.children
    assert again == world.applied().applied().desired.children


@pytest.mark.parametrize(("deadline", "patience"), [(None, 3), (600, 3), (3, 2), (1, None)])
def test_a_replica_proves_itself_within_the_deadline(world: Any, deadline: Any, patience: Any):
    """The API server refuses a Deployment that waits as long as its deadline."""
    spec = world.asking(progressDeadlineSeconds=deadline).desired.children[DEPLOYMENT]["spec"]
    assert spec.get("minReadySeconds") == patience


@pytest.mark.parametrize(
    ("grace", "told"),
    [(30, {}), (25, {}), (24, {"DEADLINE": "19", "DRAIN": "5"}), (10, {"DEADLINE": "5", "DRAIN": "5"})],
)
def test_a_server_with_little_time_to_leave_knows_it(world: Any, grace: int, told: dict[str, str]):
    """It goes on while clients are connected: killed meanwhile, it would lose what they ask."""
    hurried = replace(world, settings=Settings(grace_period_seconds=grace))
    variables = {each["name"]: each["value"] for each in container(hurried).get("env", ())}
    assert variables == {f"CHURN_{name}_SECONDS": value for name, value in told.items()}


def test_children_by_what_is_asked_for(world: Any):
    always = {CONFIG_MAP, CONTROLLER_REVISION, NETWORK_POLICY, SERVICE, DEPLOYMENT}
    assert world.desired.children.keys() == always | {DISRUPTION_BUDGET}
    assert world.asking(replicas=1).desired.children.keys() == always
    scaled = world.asking(replicas=1, autoscaling=AUTOSCALING)
    assert scaled.desired.children.keys() == always | {DISRUPTION_BUDGET, AUTOSCALER}
    assert AUTOSCALER not in scaled.asking(suspend=True).desired.children


class TestTls:
    TLS: Any = {"tls": {"secretName": "telco-tls"}}  # noqa: RUF012

    def test_gives_the_service_port_443_and_the_url_https(self, world: Any):
        secure = world.asking(serving=self.TLS)
        port, metrics = secure.desired.children[SERVICE]["spec"]["ports"]
        assert (port["name"], port["port"], port["targetPort"]) == ("https", 443, "http")
        assert metrics["port"] == 9090
        assert secure.told().status["url"] == "https://telco.shop.svc"
        assert world.told().status["url"] == "http://telco.shop.svc"

    def test_of_what_serves_stays_the_url_while_the_spec_is_not_valid(self, world: Any):
        secure = world.asking(serving=self.TLS).told()
        assert secure.asking(replicas=-1).told().status["url"] == "https://telco.shop.svc"


class TestGrpc:
    def test_has_a_port_of_the_pod_the_service_and_the_network_policy(self, world: Any):
        asked = world.asking(serving={"grpc": True})
        assert {port["name"]: port["containerPort"] for port in container(asked)["ports"]}["grpc"] == 9000
        assert {"name": "CHURN_GRPC_PORT", "value": "9000"} in container(asked)["env"]
        service = asked.desired.children[SERVICE]["spec"]["ports"]
        assert (service[-1]["port"], service[-1]["targetPort"]) == (9000, "grpc")
        rule = asked.desired.children[NETWORK_POLICY]["spec"]["ingress"][0]
        assert [port["port"] for port in rule["ports"]] == [8080, 9000]

    def test_is_told_to_gateways_as_what_it_is(self, world: Any):
        plain, secure = ({"grpc": True}, {"grpc": True, "tls": {"secretName": "telco-tls"}})
        ports = [
            world.asking(serving=each).desired.children[SERVICE]["spec"]["ports"] for each in (plain, secure)
        ]
        assert [port[-1]["appProtocol"] for port in ports] == ["kubernetes.io/h2c", "https"]

    def test_is_nowhere_unless_it_is_asked_for(self, world: Any):
        for asked in (world, world.asking(serving={"grpc": False})):
            for kind in (DEPLOYMENT, SERVICE, NETWORK_POLICY):
                assert "grpc" not in json.dumps(asked.desired.children[kind]).lower()


class TestPod:
    def test_of_an_image_model_mounts_the_image(self, world: Any):
        model = next(v for v in pod_of(world)["volumes"] if v["name"] == "model")
        assert model["image"]["reference"] == "registry.example/telco:1"
        mount = next(m for m in container(world)["volumeMounts"] if m["name"] == "model")
        assert mount == {
            "name": "model",
            "mountPath": f"/models/{world.plan.revision.hash}",
            "readOnly": True,
        }
        assert "initContainers" not in pod_of(world)

    def test_of_a_claim_reads_it_only(self, world: Any):
        claim = world.asking(model={"uri": "pvc://models/telco/v1", "digest": "sha256:" + "a" * 64})
        model = next(v for v in pod_of(claim)["volumes"] if v["name"] == "model")
        assert model["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
        mount = next(m for m in container(claim)["volumeMounts"] if m["name"] == "model")
        assert (mount["subPath"], mount["readOnly"]) == ("telco/v1", True)

    @pytest.mark.parametrize("model", [S3, HTTPS])
    def test_of_a_store_fetches_within_a_limit(self, world: Any, model: Any):
        stored = replace(world.asking(model=model), settings=Settings(max_bundle_bytes=1000))
        fetch = container(stored, "initContainers")
        out = f"/models/{stored.plan.revision.hash}"
        assert fetch["args"] == [
            "fetch",
            model["uri"],
            "--digest",
            model["digest"],
            "--out",
            out,
            "--max-bytes",
            "1000",
        ]
        volume = next(v for v in pod_of(stored)["volumes"] if v["name"] == "model")
        assert volume["emptyDir"] == {"sizeLimit": "1000"}

    def test_shows_a_stores_credentials_to_the_fetching_container_only(self, world: Any):
        s3, https = world.asking(model=S3), world.asking(model=HTTPS)
        assert container(s3, "initContainers")["envFrom"] == [{"secretRef": {"name": "store"}}]
        (token,) = container(https, "initContainers")["env"]
        assert token["valueFrom"]["secretKeyRef"] == {"name": "store", "key": "token"}
        for stored in (s3, https):
            assert not {"env", "envFrom"} & container(stored).keys()

    def test_gets_of_a_secret_of_keys_the_one_file_and_reads_it_only(self, world: Any):
        guarded = world.asking(serving={"auth": {"apiKeysSecret": "telco-keys"}})
        (volume,) = [each for each in pod_of(guarded)["volumes"] if each["name"] == "auth"]
        assert volume["secret"]["secretName"] == "telco-keys"
        assert volume["secret"]["items"] == [{"key": "keys.json", "path": "keys.json"}]
        (mount,) = [each for each in container(guarded)["volumeMounts"] if each["name"] == "auth"]
        assert mount == {"name": "auth", "mountPath": "/etc/churn-auth", "readOnly": True}
        assert {"name": "CHURN_AUTH", "value": "keys"} in container(guarded)["env"]

    def test_starts_without_its_secret_so_that_the_server_says_what_is_missing(self, world: Any):
        """A volume that cannot be mounted leaves the pod waiting without a reason in its status."""
        tokens = {"issuer": "https://issuer.example/", "audience": "churn", "jwksConfigMap": "issuer"}
        guarded = world.asking(serving={"auth": {"jwt": tokens}, "tls": {"secretName": "telco-tls"}})
        auth, tls = (v for v in pod_of(guarded)["volumes"] if v["name"] in {"auth", "tls"})
        assert (auth["configMap"]["name"], auth["configMap"]["optional"]) == ("issuer", True)
        assert (tls["secret"]["secretName"], tls["secret"]["optional"]) == ("telco-tls", True)
        told = {each["name"]: each["value"] for each in container(guarded)["env"]}
        assert told["CHURN_AUTH_ISSUER"] == "https://issuer.example/"
        assert "CHURN_AUTH_SCOPE" not in told

    def test_tells_the_server_the_names_it_may_be_asked_by(self, world: Any):
        hosts, origins = ["churn.example", "*.churn.example"], ["https://crm.example", "*"]
        asked = world.asking(serving={"allowedHosts": hosts, "corsOrigins": origins})
        told = {each["name"]: each["value"] for each in container(asked)["env"]}
        assert told["CHURN_ALLOWED_HOSTS"] == "churn.example,*.churn.example"
        assert told["CHURN_CORS_ORIGINS"] == "https://crm.example,*"
        assert not {"allowedHosts", "corsOrigins"} & pod_of(asked).keys()

    def test_shows_no_secret_of_access_to_the_fetching_container(self, world: Any):
        access = {"auth": {"apiKeysSecret": "telco-keys"}, "tls": {"secretName": "telco-tls"}}
        stored = world.asking(model=S3, serving=access)
        mounts = {each["name"] for each in container(stored, "initContainers")["volumeMounts"]}
        assert mounts == {"tmp", "model"}

    def test_pulls_a_private_model_with_its_secret(self, world: Any):
        private = world.asking(
            model=world.spec["model"] | {"credentialsSecret": "registry"},
            serving={"imagePullSecrets": [{"name": "mine"}, {"name": "registry"}]},
        )
        assert pod_of(private)["imagePullSecrets"] == [{"name": "mine"}, {"name": "registry"}]

    def test_satisfies_pod_security_restricted(self, world: Any):
        pod = pod_of(world.asking(model=S3))
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in [*pod["containers"], *pod["initContainers"]]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert each["resources"]["limits"].keys() == {"cpu", "memory"}

    def test_takes_the_platforms_defaults_where_nothing_is_said(self, world: Any):
        settings = Settings(serving_image="mine:1", serving_resources=ResourceRequirements(limits={"cpu": 3}))
        server = container(replace(world, settings=settings))
        assert (server["image"], server["resources"]) == ("mine:1", {"limits": {"cpu": 3}})
        server = container(replace(world.asking(serving={"image": "other:2"}), settings=settings))
        assert server["image"] == "other:2"

    def test_carries_what_may_be_said_about_it(self, world: Any):
        pod = pod_of(
            world.asking(
                serving={
                    "nodeSelector": {"disk": "ssd"},
                    "tolerations": [{"key": "a", "operator": "Exists"}],
                    "priorityClassName": "high",
                    "imagePullPolicy": "Always",
                }
            )
        )
        assert pod["nodeSelector"] == {"disk": "ssd"}
        assert pod["tolerations"] == [{"key": "a", "operator": "Exists"}]
        assert pod["priorityClassName"] == "high"
        assert pod["containers"][0]["imagePullPolicy"] == "Always"
        assert not {"image", "podLabels", "resources", "imagePullPolicy"} & pod.keys()

    def test_cannot_be_made_to_lose_its_own_labels(self, world: Any):
        labels = world.asking(serving={"podLabels": {"team": "a"}}).desired.children[DEPLOYMENT]["spec"][
            "template"
        ]["metadata"]["labels"]
        assert labels["team"] == "a"
        assert labels["churnops.io/model"] == "telco"

    def test_probes_mean_different_things(self, world: Any):
        server = container(world)
        probes = [server[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
        assert [probe["httpGet"]["path"] for probe in probes] == ["/readyz", "/readyz", "/livez"]
        patience = [probe["periodSeconds"] * probe["failureThreshold"] for probe in probes]
        assert patience[1] < patience[2] < patience[0]

    def test_goes_on_before_it_stops(self, world: Any):
        assert container(world)["lifecycle"] == {"preStop": {"sleep": {"seconds": 3}}}


class TestNetworkPolicy:
    def rules(self, world: Any):
        return world.desired.children[NETWORK_POLICY]["spec"]

    def test_lets_nothing_out_where_nothing_is_fetched(self, world: Any):
        assert self.rules(world)["policyTypes"] == ["Ingress", "Egress"]
        assert "egress" not in self.rules(world)

    def test_lets_names_be_resolved_and_the_stores_port(self, world: Any):
        names, store = self.rules(world.asking(model=HTTPS))["egress"]
        assert {port["port"] for port in names["ports"]} == {53, 5353}
        assert store["ports"] == [{"port": 8443, "protocol": "TCP"}]

    def test_takes_an_s3_stores_ports_from_the_settings(self, world: Any):
        platform = replace(world.asking(model=S3), settings=Settings(store_ports=(443, 9000)))
        _, store = self.rules(platform)["egress"]
        assert [port["port"] for port in store["ports"]] == [443, 9000]

    def test_shows_metrics_to_the_platforms_namespaces(self, world: Any):
        platform = replace(world, settings=Settings(metrics_namespaces=("monitoring",)))
        requests, metrics = self.rules(platform)["ingress"]
        assert (requests["ports"][0]["port"], "from" in requests) == (8080, False)
        assert metrics["from"] == [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        ]


class TestServingJson:
    def test_names_the_wanted_revision(self, world: Any):
        assert entries(world) == {
            world.plan.revision.hash: {
                "weight": 100, "digest": "sha256:" + "a" * 64, "decision": {"threshold": 0.4},
            }
        }  # fmt: skip

    def test_without_decision_leaves_it_to_the_bundle(self, world: Any):
        (entry,) = entries(world.asking(decision=None)).values()
        assert entry["decision"] is None

    def test_keeps_an_old_revision_as_it_was_while_a_pod_of_it_lives(self, world: Any):
        old = world.plan.revision.hash
        rolled = world.serving().asking(serving={"image": "new"}, decision={"threshold": 0.9})
        assert entries(rolled)[old]["decision"] == {"threshold": 0.4}
        assert entries(rolled)[rolled.plan.revision.hash]["decision"] == {"threshold": 0.9}
        assert entries(replace(rolled, pods=())).keys() == {rolled.plan.revision.hash}

    def test_lost_is_put_together_from_the_revisions_records(self, world: Any):
        old = world.plan.revision.hash
        rolled = world.serving().asking(serving={"image": "new"}, decision={"threshold": 0.9})
        broken = rolled.children[CONFIG_MAP] | {"data": {"serving.json": "[not json"}}
        for lost in (
            without_settings(rolled),
            replace(rolled, children=rolled.children | {CONFIG_MAP: broken}),
        ):
            assert entries(lost)[old]["decision"] == {"threshold": 0.4}

    def test_lost_in_a_rollout_keeps_what_the_old_pods_last_went_by(self, world: Any):
        """Not what they were born with: a record's data never changes, a threshold does."""
        old = world.plan.revision.hash
        changed = world.serving().asking(decision={"threshold": 0.6}).applied()
        rolled = changed.asking(serving={"image": "new"}, decision={"threshold": 0.9}).applied()
        assert entries(without_settings(rolled))[old]["decision"] == {"threshold": 0.6}

    def test_lost_in_a_rollout_of_a_rollout_keeps_them_all(self, world: Any):
        first = world.plan.revision.hash
        second = world.serving().asking(decision={"threshold": 0.6}).applied()
        second = second.asking(serving={"image": "b"}).applied().with_pod()
        third = second.asking(decision={"threshold": 0.7}).applied()
        third = third.asking(serving={"image": "c"}, decision={"threshold": 0.8}).applied()
        kept = entries(without_settings(third))
        assert kept[first]["decision"] == {"threshold": 0.6}
        assert kept[second.plan.revision.hash]["decision"] == {"threshold": 0.7}

    def test_change_alone_leaves_the_template_as_it_is(self, world: Any):
        changed = world.serving().asking(decision={"threshold": 0.9})
        before, after = (w.desired.children[DEPLOYMENT] for w in (world, changed))
        assert before == after


class TestRevisions:
    def test_an_old_one_that_returns_becomes_the_newest(self, world: Any):
        first = world.applied()
        second = first.asking(serving={"image": "b"}).applied()
        back = second.asking(serving=None)
        record = back.desired.children[CONTROLLER_REVISION]
        assert record["revision"] == 3
        assert record["data"] == first.revisions[0]["data"]

    def test_are_kept_to_the_limit_and_while_in_use(self, world: Any):
        world = replace(world, settings=Settings(revision_history_limit=1)).applied()
        oldest = world.plan.revision.hash
        for image in "abc":
            world = world.asking(serving={"image": image}).applied()
        newest = [r["metadata"]["name"] for r in world.revisions]
        assert world.desired.kept_revisions == {newest[2]}
        using = world.with_pod(revision=oldest)
        assert using.desired.kept_revisions == {newest[2], newest[0]}

    def test_say_nothing_of_decisions_that_never_changed(self, world: Any):
        rolled = world.serving().asking(serving={"image": "b"}, decision={"threshold": 0.9})
        assert "annotations" not in rolled.desired.children[CONTROLLER_REVISION]["metadata"]

    def test_stay_as_they_are_once_the_old_pods_are_gone(self, world: Any):
        changed = world.serving().asking(decision={"threshold": 0.6}).applied()
        rolled = changed.asking(serving={"image": "b"}).applied()
        during = rolled.desired.children[CONTROLLER_REVISION]
        assert replace(rolled, pods=()).applied().desired.children[CONTROLLER_REVISION] == during


class TestKeptReplicas:
    def test_are_said_again_while_the_field_is_ours(self, world: Any):
        assert self.kept(world, present=5, ours=True) == 5

    def test_are_left_out_once_somebody_else_owns_them(self, world: Any):
        assert self.kept(world, present=5, ours=False) is None

    def test_stay_within_the_autoscalers_bounds(self, world: Any):
        assert self.kept(world, present=1, ours=True) == 2
        assert self.kept(world, present=99, ours=True) == 9

    def test_wake_a_deployment_at_zero(self, world: Any):
        assert self.kept(world, present=0, ours=False) == 2

    def test_are_none_without_an_autoscaler_or_while_suspended(self, world: Any):
        assert self.kept(world, present=5, ours=True, autoscaling=None) is None
        assert self.kept(world, present=5, ours=True, suspend=True) is None

    @staticmethod
    def kept(world: Any, *, present: int, ours: bool, **spec: Any) -> int | None:
        world = world.applied().asking(**{"autoscaling": AUTOSCALING} | spec)
        deployment = world.children[DEPLOYMENT]
        deployment["spec"]["replicas"] = present
        deployment["managed"] = [{"time": None, "replicas": ours}]
        return kept_replicas(world.plan, deployment)
