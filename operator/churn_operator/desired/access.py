"""Who may ask a model: Secrets mounted into the server, and the settings that name their files."""

from typing import Any, NamedTuple

from churn_operator.api.access import Jwt
from churn_operator.api.serving import Serving
from churn_operator.names import AUTH_DIR, JWKS_FILE, KEYS_FILE, TLS_DIR, TLS_FILES

_READABLE = 0o440  # for the group that the pod's fsGroup makes its own


class Access(NamedTuple):
    """What the server's container and its pod get."""

    env: list[dict[str, Any]]
    mounts: list[dict[str, Any]]
    volumes: list[dict[str, Any]]


def build_access(serving: Serving) -> Access:
    """Settings, mounts and volumes; none of what is not asked for."""
    env: dict[str, str | None] = {}
    volumes = []
    if (auth := serving.auth) is not None:
        if auth.jwt is not None:
            env |= {"CHURN_AUTH": "jwt", **_jwt(auth.jwt)}
            volumes.append({"name": "auth", **_source(auth.jwt)})
        else:
            env |= {"CHURN_AUTH": "keys", "CHURN_AUTH_KEYS": f"{AUTH_DIR}/{KEYS_FILE}"}
            volumes.append({"name": "auth", **_secret(str(auth.api_keys_secret), KEYS_FILE)})
    if serving.tls is not None:
        paths = (f"{TLS_DIR}/{file}" for file in TLS_FILES)
        env |= dict(zip(("CHURN_TLS_CERTIFICATE", "CHURN_TLS_KEY"), paths, strict=True))
        volumes.append({"name": "tls", **_secret(serving.tls.secret_name, *TLS_FILES)})
    for name, listed in (("ALLOWED_HOSTS", serving.allowed_hosts), ("CORS_ORIGINS", serving.cors_origins)):
        env[f"CHURN_{name}"] = ",".join(listed) if listed else None
    return Access(
        env=[{"name": name, "value": value} for name, value in env.items() if value is not None],
        # No subPath: it would never refresh.
        mounts=[
            {"name": name, "mountPath": path, "readOnly": True}
            for name, path in (("auth", AUTH_DIR), ("tls", TLS_DIR))
            if any(volume["name"] == name for volume in volumes)
        ],
        volumes=volumes,
    )


def _jwt(jwt: Jwt) -> dict[str, str | None]:
    return {
        "CHURN_AUTH_JWKS": f"{AUTH_DIR}/{JWKS_FILE}",
        "CHURN_AUTH_ISSUER": jwt.issuer,
        "CHURN_AUTH_AUDIENCE": jwt.audience,
        "CHURN_AUTH_SCOPE": jwt.scope,
    }


def _source(jwt: Jwt) -> dict[str, Any]:
    if jwt.jwks_secret is not None:
        return _secret(jwt.jwks_secret, JWKS_FILE)
    return {"configMap": {"name": jwt.jwks_config_map} | _taken(JWKS_FILE)}


def _secret(name: str, *files: str) -> dict[str, Any]:
    return {"secret": {"secretName": name} | _taken(*files)}


def _taken(*files: str) -> dict[str, Any]:
    """Only what is needed of it, and optional.

    Where it is missing the server ends and says which file it misses; a pod whose volume cannot be mounted
    only waits, and its status does not say for what.
    """
    items = [{"key": file, "path": file} for file in files]
    return {"items": items, "optional": True, "defaultMode": _READABLE}
