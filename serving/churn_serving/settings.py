"""The server's settings in one place: `serve --help`, the environment and the defaults are read from here."""

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

_ORIGIN = re.compile(r"\*|https?://[^/\s*]+")
_HOST = re.compile(r"(\*\.)?[\w.-]+|\[[0-9a-fA-F:.]+\]", re.ASCII)

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Count = Annotated[int, Meta(ge=1)]
Level = Annotated[str, Meta(pattern="^(debug|info|warning|error)$")]


def _says(description: str) -> Meta:
    return Meta(description=description)


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of `serve`: an option, else `CHURN_` and the name in the environment, else the default."""

    model: Annotated[Path | None, _says("One bundle to serve.")] = None
    config: Annotated[
        Path | None, _says("serving.json: weights and thresholds by revision, followed live.")
    ] = None
    models_dir: Annotated[Path, _says("With --config: holds each revision's bundle.")] = Path("/models")
    name: Annotated[
        str | None, _says("Name in the URLs /v1/models/NAME; else the bundle's or serving.json's.")
    ] = None
    digest: Annotated[str | None, _says("With --model: the digest it must have.")] = None
    host: Annotated[str, _says("Address to listen on.")] = "0.0.0.0"  # noqa: S104 (reached from outside its container)
    port: Annotated[Port, _says("Traffic; 0 takes a free port and logs it.")] = 8080
    metrics_port: Annotated[
        Port, _says("Metrics and the kubelet's probes, however busy the traffic port is.")
    ] = 9090
    grpc_port: Annotated[
        Port | None, _says("The V2 protocol over gRPC; off where it is not given, 0 takes a free port.")
    ] = None
    # Some 40,000 records of twenty columns.
    max_body_bytes: Annotated[Count, _says("A larger request is answered 413.")] = 16 << 20
    max_records: Annotated[Count, _says("More records in one request are answered 413.")] = 10_000
    # Of twenty columns, some 25,000 records.
    max_values: Annotated[
        Count, _says("Values and keys in one JSON body, or texts in packed tensors; more are answered 413.")
    ] = 1_000_000
    max_text_length: Annotated[
        Count, _says("Characters of one text; a longer one is answered 422 (V2: 400).")
    ] = 8192
    max_nesting: Annotated[
        Count, _says("Lists and objects in each other, the body's own among them; deeper is answered 400.")
    ] = 32
    # Some 150 records, which take half a millisecond.
    inline_bytes: Annotated[
        Count, _says("A larger request is read and scored by a thread of its own, so that probes never wait.")
    ] = 64 << 10
    # Some 1,000 customers of twenty columns: a score for each column of each.
    max_explained_rows: Annotated[
        Count, _says("Customers times columns that one request may have explained; more are answered 413.")
    ] = 20_000
    batch_rows: Annotated[Count, _says("Rows scored in one call at most, when requests come together.")] = (
        2048
    )
    # As much as nginx takes; Node takes half.
    max_head_bytes: Annotated[Count, _says("A larger request line and headers are answered 431.")] = 32 << 10
    # Some 150 records' worth of text: one record of thousands of columns.
    max_line_bytes: Annotated[Count, _says("A longer line of a stream is answered with an error.")] = 64 << 10
    # Each keeps a megabyte or so.
    max_streams: Annotated[Count, _says("Streams being answered at once; more get 503 and Retry-After.")] = 32
    # A tenth of a second's work on one core.
    max_concurrent: Annotated[
        Count, _says("Requests being answered at once; more get 503 and Retry-After. Probes always pass.")
    ] = 2048
    max_connections: Annotated[Count, _says("Connections to a port; more are closed unanswered.")] = 8192
    max_pending_bytes: Annotated[
        Count, _says("Bytes of unfinished bodies, of all clients together; more get 503 and Retry-After.")
    ] = 64 << 20
    receive_seconds: Annotated[
        Seconds,
        _says("Time to send a request, and a second more for each 64 KiB that came of its body; then 408."),
    ] = 15.0
    predict_seconds: Annotated[Seconds, _says("A request without an answer by then gets 504.")] = 30.0
    # Longer than load balancers keep theirs, so that they close first and no request meets a closing
    # connection.
    keep_alive_seconds: Annotated[Seconds, _says("How long an idle connection is kept.")] = 75.0
    drain_seconds: Annotated[
        float, Meta(ge=0, le=3600), _says("After SIGTERM: go on serving while endpoints forget this pod.")
    ] = 5.0
    # Below a pod's usual grace period of 30, less the time of a preStop sleep.
    deadline_seconds: Annotated[Seconds, _says("After SIGTERM: exit, whatever is still in flight.")] = 20.0
    config_poll_seconds: Annotated[
        Seconds, _says("How often serving.json and the other mounted files are looked at.")
    ] = 1.0
    drift: Annotated[bool, _says("Hold live customers against the training ones, as metrics.")] = True
    # A day: shorter, and the customers of the night have drifted from those of the day.
    drift_window_seconds: Annotated[
        float, Meta(ge=1, le=30 * 86_400), _says("Drift is told of the last half to whole of this time.")
    ] = 86_400.0
    auth: Annotated[
        str,
        Meta(pattern="^(none|keys|jwt)$"),
        _says("Who is answered: none (whoever asks), keys (who has an API key) or jwt. Probes always are."),
    ] = "none"
    auth_keys: Annotated[
        Path | None, _says("With --auth keys: the file that `churn-serving keys` writes, followed live.")
    ] = None
    auth_jwks: Annotated[
        Path | None, _says("With --auth jwt: the issuer's public keys, a JWKS file, followed live.")
    ] = None
    auth_issuer: Annotated[str | None, _says("With --auth jwt: what a token's iss must be.")] = None
    auth_audience: Annotated[str | None, _says("With --auth jwt: what a token's aud must be, or hold.")] = (
        None
    )
    auth_scope: Annotated[str | None, _says("With --auth jwt: a scope without which the answer is 403.")] = (
        None
    )
    auth_leeway_seconds: Annotated[
        float, Meta(ge=0, le=300), _says("How far the issuer's clock may be from ours.")
    ] = 10.0
    tls_certificate: Annotated[
        Path | None,
        _says("Speak TLS to clients, over gRPC too: certificate and chain, PEM, followed live."),
    ] = None
    tls_key: Annotated[Path | None, _says("With --tls-certificate: its key, PEM.")] = None
    allowed_hosts: Annotated[
        str, _says("Names that requests may come to, by commas, such as a.example,*.b.example; empty: any.")
    ] = ""
    cors_origins: Annotated[
        str, _says("Origins whose pages may read answers, by commas, such as https://a.example; * is any.")
    ] = ""
    # A line costs more than scoring one record does.
    access_log: Annotated[bool, _says("Log each request.")] = False
    log_level: Annotated[Level, _says("debug, info, warning or error.")] = "info"


def load_settings(options: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the options that were given (not None), the environment and the defaults.

    Raises:
        ConfigInvalidError: Names the setting and what it must be.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in Settings.__struct_fields__:
        text = environ.get(PREFIX + name.upper())
        if text and name not in given and not _SERVICE_LINK.match(text):
            given[name] = text
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=_to_path)
    except msgspec.ValidationError as error:
        raise ConfigInvalidError(f"a setting is wrong: {error}") from None
    _check(settings)
    return settings


def describe_settings() -> list[tuple[str, str, Any]]:
    """Name, what it is for and default of each setting."""
    described = []
    for field in msgspec.structs.fields(Settings):
        (text,) = (meta.description for meta in field.type.__metadata__ if meta.description)
        described.append((field.name, text, field.default))
    return described


def _check(settings: Settings) -> None:
    if (settings.model is None) == (settings.config is None):
        raise ConfigInvalidError("give either --model DIR or --config FILE")
    if settings.digest is not None and settings.model is None:
        raise ConfigInvalidError(
            "--digest goes with --model; with --config the file gives each revision's digest"
        )
    _check_auth(settings)
    _check_names(settings)
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise ConfigInvalidError("tls_certificate and tls_key go together")
    if settings.deadline_seconds < settings.drain_seconds:
        raise ConfigInvalidError("deadline_seconds must not be below drain_seconds")


_AUTH_NEEDS = {
    "none": (),
    "keys": ("auth_keys",),
    "jwt": ("auth_jwks", "auth_issuer", "auth_audience"),
}


def listed(text: str) -> list[str]:
    """What a setting lists by commas."""
    return [each.strip() for each in text.split(",") if each.strip()]


def _check_names(settings: Settings) -> None:
    if any(not _ORIGIN.fullmatch(origin) for origin in listed(settings.cors_origins)):
        raise ConfigInvalidError("cors_origins: an origin is * or like https://a.example, without a path")
    if any(not _HOST.fullmatch(host) for host in listed(settings.allowed_hosts)):
        raise ConfigInvalidError("allowed_hosts: a host is like a.example or *.a.example, without a port")


def _check_auth(settings: Settings) -> None:
    needed = _AUTH_NEEDS[settings.auth]
    for name in sorted({name for names in _AUTH_NEEDS.values() for name in names}):
        if bool(getattr(settings, name)) != (name in needed):
            told = " and ".join(needed) or "nothing more"
            raise ConfigInvalidError(
                f"auth {settings.auth} takes {told}: {name} is wrong with that, or missing"
            )
    if settings.auth_scope and settings.auth != "jwt":
        raise ConfigInvalidError("auth_scope goes with auth jwt")


def _to_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise NotImplementedError(kind)
