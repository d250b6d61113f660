"""`spec.serving.auth`, `tls`, `allowedHosts` and `corsOrigins`: who may ask a model, and by which name.

Secrets are named here and mounted by the kubelet; the operator reads none.
"""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from churn_operator.api.schema import ApiModel, ObjectName, rules

ONE_WAY = "set exactly one of apiKeysSecret and jwt"
ONE_JWKS = "set exactly one of jwksSecret and jwksConfigMap"

# Without $: the kubelet would put a variable in its place.
Text = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s$]+$")]

# As the server's settings of the same names take them, by commas in one variable.
_HOST = r"^((\*\.)?[A-Za-z0-9_.-]+|\[[0-9a-fA-F:.]+\])$"
_ORIGIN = r"^(\*|https?://[^/\s*,$]+)$"
_MAX_NAMES = 32
Hosts = Annotated[
    list[Annotated[str, Field(max_length=253, pattern=_HOST)]], Field(min_length=1, max_length=_MAX_NAMES)
]
Origins = Annotated[
    list[Annotated[str, Field(max_length=262, pattern=_ORIGIN)]], Field(min_length=1, max_length=_MAX_NAMES)
]


class Jwt(ApiModel):
    """Callers show a JWT of this issuer."""

    model_config = ConfigDict(
        json_schema_extra=rules(("has(self.jwksSecret) != has(self.jwksConfigMap)", ONE_JWKS)),
    )

    issuer: Text
    """What a token's iss must be, to the letter."""
    audience: Text
    """What a token's aud must be, or hold."""
    scope: Text | None = None
    """A scope that a token must have; without it the answer is 403."""
    jwks_secret: ObjectName | None = None
    """Secret whose key jwks.json holds the issuer's public keys."""
    jwks_config_map: ObjectName | None = None
    """ConfigMap whose key jwks.json holds the issuer's public keys."""

    @model_validator(mode="after")
    def _keys_come_from_one_place(self) -> Self:
        if (self.jwks_secret is None) == (self.jwks_config_map is None):
            raise ValueError(ONE_JWKS)
        return self


class Auth(ApiModel):
    """Who is answered; whoever asks, if unset. Probes and port 9090 always are."""

    model_config = ConfigDict(json_schema_extra=rules(("has(self.apiKeysSecret) != has(self.jwt)", ONE_WAY)))

    api_keys_secret: ObjectName | None = None
    """Secret whose key keys.json is what `churn-serving keys` writes. A change needs no restart."""
    jwt: Jwt | None = None
    """Callers show a JWT."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.api_keys_secret is None) == (self.jwt is None):
            raise ValueError(ONE_WAY)
        return self


class Tls(ApiModel):
    secret_name: ObjectName
    """Secret of type kubernetes.io/tls. The Service then has port 443 in place of 80. A renewed certificate
    needs no restart."""
