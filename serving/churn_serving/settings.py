"""The server's settings: from the command line, else from the environment (`CHURN_` and the name), else the default."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from churn_serving.errors import ConfigInvalidError

PREFIX = "CHURN_"

# In a namespace with a Service called "churn" Kubernetes sets CHURN_PORT=tcp://10.0.0.1:80 in every pod.
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]
Positive = Annotated[int, Meta(ge=1)]


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `serve`. Times are seconds, sizes bytes."""

    model: Path | None = None
    """One bundle to serve. Either this or `config`."""
    config: Path | None = None
    """serving.json: weights and decisions by revision. Followed while serving."""
    models_dir: Path = Path("/models")
    """With `config`: holds one bundle per revision, in a directory of the revision's name."""
    name: str | None = None
    """Name in the URLs `/v1/models/NAME`; the bundle's own where not given."""
    digest: str | None = None
    """With `model`: the digest that the bundle must have."""
    host: str = "0.0.0.0"  # noqa: S104 (a server in a container is reached from outside it)
    """Address to listen on."""
    port: Port = 8080
    """Traffic. 0 takes a free one and logs it."""
    metrics_port: Port = 9090
    """Metrics and the probes of the kubelet, which must answer however busy the traffic port is."""
    max_body_bytes: Positive = 16 << 20
    """A larger request is answered 413: about 40,000 records of twenty columns."""
    max_records: Positive = 10_000
    """More records in one request are answered 413."""
    batch_rows: Positive = 2048
    """Rows that are scored in one call at most, when requests come together."""
    receive_seconds: Seconds = 15.0
    """Time a client has to send a request's body."""
    keep_alive_seconds: Seconds = 75.0
    """How long an idle connection is kept: longer than load balancers do, so that they close first."""
    drain_seconds: Seconds = 5.0
    """After SIGTERM: how long to go on serving while endpoints forget this pod."""
    deadline_seconds: Seconds = 20.0
    """After SIGTERM: when to exit, whatever is still in flight. Keep it below the pod's grace period."""
    config_poll_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    """How often serving.json is looked at."""
    access_log: bool = False
    """One log line per request. Costs more than scoring one record does."""
    log_level: str = "info"
    """debug, info, warning or error."""
    termination_log: Path = Path("/dev/termination-log")
    """Where the reason of a failed start is written, if the file exists."""


def load_settings(options: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the options that were given (not None), the environment and the defaults.

    Raises:
        ConfigInvalidError: Names the setting and what it must be.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in Settings.__struct_fields__:
        text = environ.get(PREFIX + name.upper())
        if text is not None and name not in given and not _SERVICE_LINK.match(text):
            given[name] = text
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=_to_path)
    except msgspec.ValidationError as error:
        raise ConfigInvalidError(f"a setting is wrong: {error}") from None
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    if (settings.model is None) == (settings.config is None):
        raise ConfigInvalidError("give either --model DIR or --config FILE")
    if settings.digest is not None and settings.model is None:
        raise ConfigInvalidError("--digest goes with --model; with --config the file gives each revision's digest")
    if settings.deadline_seconds < settings.drain_seconds:
        raise ConfigInvalidError("deadline_seconds must not be below drain_seconds")
    if settings.log_level not in {"debug", "info", "warning", "error"}:
        raise ConfigInvalidError("log_level must be debug, info, warning or error")


def _to_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise NotImplementedError(kind)
