"""Every name, label, path and port that other parts depend on, once. tests/deploy compares both sides."""

from typing import Any

from churn_operator.api.v1alpha1 import GROUP

FIELD_MANAGER = "churn-operator"

MODEL_LABEL = f"{GROUP}/model"
"""On every child and pod: selectors, caches and NetworkPolicies find them by it."""
REVISION_LABEL = f"{GROUP}/revision"
"""On pods: which revision each one serves."""
SERVING_LABEL = f"{GROUP}/serving"
"""On a ServiceAccount, with "true": ChurnModels of its namespace may use it."""
NAME_LABEL = "app.kubernetes.io/name"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
APP_NAME = "churn-serving"

PAUSED_ANNOTATION = f"{GROUP}/paused"
CONFIG_DIGEST_ANNOTATION = f"{GROUP}/config-digest"
"""On pods: digest of their entry in serving.json. Touching it makes the kubelet refresh the file now."""
IN_PLACE_OF_ANNOTATION = f"{GROUP}/in-place-of"
"""On the newest ControllerRevision, after a rollback: the revision that failed, and why (JSON)."""
ENTRIES_ANNOTATION = f"{GROUP}/entries"
"""On a ControllerRevision: what other revisions with pods went by when it became the newest, where their own
records say something else (JSON). A ConfigMap that is lost in a rollout is made again from it."""
DESIRED_ANNOTATION = f"{GROUP}/desired"
"""On children: digest of what was applied. Tells a removed field from one that somebody else added."""

SERVER_CONTAINER = "server"
FETCH_CONTAINER = "fetch"
HTTP_PORT = 8080
METRICS_PORT = 9090
GRPC_PORT = 9000
GRPC_PORT_ENV = "CHURN_GRPC_PORT"
SERVICE_PORT = 80
TLS_SERVICE_PORT = 443
SERVICE_PORT_NAME, TLS_SERVICE_PORT_NAME = "http", "https"
"""A Service has one of these two ports: by it, who asks knows whether to speak TLS."""
USER_ID = 65532
CONFIG_DIR = "/etc/churn"
CONFIG_FILE = "serving.json"
MODELS_DIR = "/models"
AUTH_DIR = "/etc/churn-auth"
KEYS_FILE = "keys.json"
JWKS_FILE = "jwks.json"
TLS_DIR = "/etc/churn-tls"
TLS_FILES = ("tls.crt", "tls.key")
"""Certificate and key, as a Secret of type kubernetes.io/tls calls them."""
LIVEZ = "/livez"
READYZ = "/readyz"
DRAIN_ENV = "CHURN_DRAIN_SECONDS"
DEADLINE_ENV = "CHURN_DEADLINE_SECONDS"
SERVER_DRAIN_SECONDS = 5
"""How long a server that is told to stop goes on by default."""
SERVER_DEADLINE_SECONDS = 20
"""When it ends at the latest, by default."""
KILL_MARGIN_SECONDS = 2
"""Between the server's end and the kill: a machine may be busy."""
FETCH_TOKEN_ENV = "CHURN_FETCH_TOKEN"  # noqa: S105  # the name of a variable
FETCH_TOKEN_KEY = "token"  # noqa: S105  # the key inside the Secret


def selector(name: str) -> dict[str, str]:
    """Labels that select the pods of a ChurnModel. Immutable on the Deployment: never add to them."""
    return {MODEL_LABEL: name}


def labels(name: str) -> dict[str, str]:
    """Labels of every child."""
    return {MODEL_LABEL: name, MANAGED_BY_LABEL: FIELD_MANAGER, NAME_LABEL: APP_NAME}


def revision_name(name: str, revision: str) -> str:
    """Name of the ControllerRevision that keeps `revision`."""
    return f"{name}-{revision}"


def url(namespace: str, name: str, *, tls: bool) -> str:
    """Where a client inside the cluster sends requests."""
    return f"{'https' if tls else 'http'}://{name}.{namespace}.svc"


def controller_uid(obj: dict[str, Any]) -> str | None:
    """The uid of the object that controls `obj`."""
    for owner in obj["metadata"].get("ownerReferences", ()):
        if owner.get("controller"):
            return str(owner["uid"])
    return None
