"""Process settings: read once from CHURN_OPERATOR_* and frozen."""

import os
import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from churn_operator.api.serving import ResourceRequirements
from churn_operator.names import KILL_MARGIN_SECONDS, SERVER_DRAIN_SECONDS

PREFIX = "CHURN_OPERATOR_"
_SERVICE_LINK = re.compile(
    r"(^|_)(SERVICE_(HOST|PORT\w*)|PORT(_\d+\w*)?)$"
)  # of Services called churn-operator-*
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """Settings of the operator. Defaults of the serving pods apply where a ChurnModel says nothing."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, use_attribute_docstrings=True)

    namespace: str = ""
    """Namespace to serve; empty for the whole cluster."""
    serving_image: str = "docker.io/churnops/churn-serving:0.2.0"
    """Serving image where spec.serving.image is unset. Changing it rolls those ChurnModels."""
    serving_resources: ResourceRequirements = ResourceRequirements(
        requests={"cpu": "100m", "memory": "256Mi"}, limits={"cpu": "1", "memory": "512Mi"}
    )
    """Resources of a replica where spec.serving.resources is unset (JSON). It needs some 90 MB at rest."""
    serving_image_prefixes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Where spec.serving.image may come from (JSON list): registries, repositories or whole images, each
    matched up to a `/`, `:` or `@`; empty for anywhere."""
    metrics_namespaces: tuple[str, ...] = ()
    """Namespaces whose pods may read the replicas' metrics on 9090 (JSON list); empty for any."""
    store_ports: tuple[Port, ...] = (443,)
    """Ports that s3 models may be fetched from (JSON list). An https uri names its own."""
    max_bundle_bytes: Annotated[int, Field(ge=1)] = 1 << 30
    """Largest bundle that is fetched from s3 or https; also the size of the pods' volume for it."""
    pre_stop_seconds: Annotated[int, Field(ge=1, le=60)] = 3
    """How long a stopping replica goes on before it is told: longer than endpoints take to spread."""
    grace_period_seconds: Annotated[int, Field(ge=10, le=600)] = 30
    """Seconds from the start of a stop to the kill: at least 7 more than the preStop sleep, for the server to
    drain in."""
    min_ready_seconds: Annotated[int, Field(ge=0, le=300)] = 3
    """How long a new replica has to stay ready before it replaces one that serves; less than the progress
    deadline."""
    progress_deadline_seconds: Annotated[int, Field(ge=10)] = 600
    """Seconds without progress after which a rollout counts as stalled."""
    revision_history_limit: Annotated[int, Field(ge=1, le=100)] = 10
    """Old revisions (ControllerRevisions) kept for each ChurnModel."""
    lease: Annotated[str, Field(pattern=r"^([-a-z0-9]+/[-.a-z0-9]+)?$")] = ""
    """Lease, as `namespace/name`, that an instance must hold to write; empty for a single instance."""
    lease_seconds: Annotated[int, Field(ge=3, le=300)] = 15
    """Seconds after which a Lease that is not renewed may be taken over."""
    workers: Annotated[int, Field(ge=1, le=100)] = 10
    """ChurnModels reconciled at the same time."""
    metrics_models: Annotated[int, Field(ge=0)] = 1000
    """ChurnModels whose state /metrics tells one by one, those that are not Ready first; all are counted."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log line that is written."""
    health_port: Port = 8080
    """Port of /livez and /readyz."""
    metrics_port: Port = 9090
    """Port of /metrics."""

    @model_validator(mode="after")
    def _a_replica_has_time_to_leave(self) -> Self:
        """Killed while it drains, it loses requests; and no pod may sleep longer than its grace period."""
        least = self.pre_stop_seconds + SERVER_DRAIN_SECONDS + KILL_MARGIN_SECONDS
        if self.grace_period_seconds < least:
            raise ValueError(
                f"grace_period_seconds {self.grace_period_seconds} ends before a replica has drained: with "
                f"pre_stop_seconds {self.pre_stop_seconds} set it to at least {least}"
            )
        return self

    @model_validator(mode="after")
    def _a_rollout_can_end_in_time(self) -> Self:
        if self.min_ready_seconds >= self.progress_deadline_seconds:
            raise ValueError(
                f"min_ready_seconds {self.min_ready_seconds} must be below progress_deadline_seconds "
                f"{self.progress_deadline_seconds}: no rollout would end in time"
            )
        return self


def read_settings() -> Settings:
    """Settings from the environment.

    Raises:
        ValueError: A value is wrong, or a CHURN_OPERATOR_* variable is none of the settings: a misspelt
            one would otherwise be a default that nobody asked for.
    """
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    unknown = sorted(
        variable
        for variable in os.environ
        if variable.startswith(PREFIX)
        and variable not in known
        and not _SERVICE_LINK.search(variable.removeprefix(PREFIX))
    )
    if unknown:
        raise ValueError(f"unknown setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return Settings()
