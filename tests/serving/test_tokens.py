"""Case F11: who shows a token is answered only if it is good in every respect; else nobody is."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from churn_serving.errors import ConfigInvalidError
from churn_serving.model import Model
from churn_serving.server.access.tokens import Tokens
from churn_serving.server.app import TrafficApp
from churn_serving.server.http import RequestError
from churn_serving.settings import Settings, load_settings

from .asgi import call, served
from .test_access import BODY, PAGES, PROBES, SCORING, as_here, asked_as, documented, exposed, get, look, put
from .test_server_routes import serving_of
from .test_short_way import Running, answer_whole_and_in_pieces, request, running_on, statuses

ISSUER, AUDIENCE = "https://issuer.example/", "churn"
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())
LONG = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_PEM = LONG.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(private: Any, kid: str, **more: Any) -> dict[str, Any]:
    maker: Any = RSAAlgorithm if isinstance(private, rsa.RSAPrivateKey) else ECAlgorithm
    return {**maker.to_jwk(private.public_key(), as_dict=True), "kid": kid, **more}


JWKS = {"keys": [jwk(ELLIPTIC, "elliptic"), jwk(LONG, "long", alg="RS256", use="sig")]}


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says, but for the changes; None leaves a claim out."""
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "crm", "exp": time.time() + 300, **changes}
    return {name: value for name, value in given.items() if value is not None}


def token(
    private: Any = ELLIPTIC, kid: str | None = "elliptic", algorithm: str = "ES256", **changes: Any
) -> str:
    return jwt.encode(claims(**changes), private, algorithm, headers={"kid": kid} if kid else {})


def by_hand(header: dict[str, Any], secret: bytes | None = None) -> str:
    """A token that no library would make: signed with a secret, or not at all."""

    def segment(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    signed = b".".join(segment(json.dumps(each).encode()) for each in (header, claims()))
    signature = hmac.digest(secret, signed, hashlib.sha256) if secret is not None else b""
    return b".".join([signed, segment(signature)]).decode()


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    put(path, json.dumps(JWKS))
    return path


@pytest.fixture
def auth(jwks: Path) -> dict[str, Any]:
    return {"auth": "jwt", "auth_jwks": jwks, "auth_issuer": ISSUER, "auth_audience": AUDIENCE}


@pytest.fixture
async def guarded(telco_model: Model, auth: dict[str, Any]) -> AsyncIterator[Running]:
    async with running_on(serving_of(telco_model, **auth)) as running:
        yield running


def asked(shown: str, path: str = "/predict") -> bytes:
    return request(SCORING[path], path, f"Authorization: Bearer {shown}")


@pytest.mark.parametrize("path", SCORING)
async def test_a_good_token_opens_every_scoring_route(guarded: Running, path: str):
    other_forms = token(aud=["other", AUDIENCE], exp=10**400, sub=None, client_id=5)
    for shown in (token(), token(LONG, "long", "RS256"), other_forms):
        answer = await answer_whole_and_in_pieces(guarded, asked(shown, path))
        assert statuses(answer) == [400 if path.startswith("/v2") else 200]


BAD = {
    "expired": lambda: token(exp=time.time() - 60),
    "not valid yet": lambda: token(nbf=time.time() + 60),
    "without expiry": lambda: token(exp=None),
    "of an expiry that is no number": lambda: token(exp="tomorrow"),
    "of an endless expiry": lambda: by_claims('"exp": Infinity'),
    "wrong audience": lambda: token(aud="other"),
    "without audience": lambda: token(aud=None),
    "wrong issuer": lambda: token(iss="https://issuer.example"),
    "without issuer": lambda: token(iss=None),
    "wrong key id": lambda: token(kid="long"),
    "unknown key id": lambda: token(kid="other"),
    "without key id": lambda: token(kid=None),
    "a stranger's key": lambda: token(STRANGER),
    "another algorithm of the key": lambda: token(LONG, "long", "PS256"),
    "changed": lambda: ".".join([*token().split(".")[:2], token(sub="boss").split(".")[2]]),
    "alg none": lambda: by_hand({"alg": "none", "kid": "elliptic"}),
    "alg None": lambda: by_hand({"alg": "None", "kid": "elliptic"}),
    "without alg": lambda: by_hand({"kid": "elliptic"}),
    "HS256 with the public key": lambda: by_hand({"alg": "HS256", "kid": "long"}, PUBLIC_PEM),
    "HS256 with nothing": lambda: by_hand({"alg": "HS256", "kid": "long"}, b""),
    "its own key beside it": lambda: jwt.encode(
        claims(), STRANGER, "ES256", headers={"kid": "other", "jwk": jwk(STRANGER, "other")}
    ),
    "an extension that must be understood": lambda: jwt.encode(
        claims(), ELLIPTIC, "ES256", headers={"kid": "elliptic", "crit": ["x"], "x": 1}
    ),
    "no token": lambda: "x.y.z",
    "a long nothing": lambda: "e" * 20_000,
    "an API key": lambda: "churn_" + "A" * 43,
}


def by_claims(text: str) -> str:
    """A token whose claims are JSON as Python writes it, well signed."""
    head = json.dumps(claims(exp=None))[:-1]
    return jwt.PyJWS().encode(f"{head}, {text}}}".encode(), ELLIPTIC, "ES256", headers={"kid": "elliptic"})


@pytest.mark.parametrize("kind", BAD)
async def test_f11_a_token_that_is_not_good_is_refused(guarded: Running, kind: str):
    shown = BAD[kind]()
    answer = await answer_whole_and_in_pieces(guarded, asked(shown))
    assert statuses(answer) == [401]
    assert b'error="invalid_token"' in answer
    assert shown not in answer.decode()


@pytest.mark.parametrize("path", [*SCORING, *PAGES])
async def test_f11_no_token_is_refused_on_every_route(guarded: Running, path: str):
    no_token = request(SCORING[path], path) if path in SCORING else get(path)
    assert statuses(await guarded.ask(no_token)) == [401]


@pytest.mark.parametrize("path", PROBES)
async def test_f11_probes_need_no_token(guarded: Running, path: str):
    assert statuses(await guarded.ask(get(path))) == [200]


async def test_f11_a_token_in_the_place_of_an_api_key_is_none(guarded: Running):
    assert statuses(await guarded.ask(request(BODY, "/predict", f"X-API-Key: {token()}"))) == [401]


async def test_f11_a_revoked_key_counts_from_the_next_look_also_for_tokens_seen_before(
    guarded: Running, jwks: Path
):
    seen, other = token(), token(LONG, "long", "RS256")
    for shown in (seen, other):
        assert statuses(await guarded.ask(asked(shown))) == [200]
    put(jwks, json.dumps({"keys": JWKS["keys"][1:]}))
    look(guarded.serving)
    assert [statuses(await guarded.ask(asked(shown))) for shown in (seen, other)] == [[401], [200]]


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"keys": []}', None], ids=str)
async def test_f11_a_broken_jwks_leaves_the_keys_as_they_were_and_is_seen(
    guarded: Running, jwks: Path, broken: str | None
):
    put(jwks, broken)
    look(guarded.serving)
    found = [statuses(await guarded.ask(asked(shown))) for shown in (token(), token(STRANGER))]
    assert found == [[200], [401]]
    ready = await call(TrafficApp(guarded.serving), "/readyz", method="GET")
    assert ready.json["refused_files"] == ["jwks"]
    assert 'serving_file_refused{file="jwks"} 1.0' in exposed(guarded.serving)


def weak() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 (it is to be refused)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("{", "is no JWKS"),
        ('{"keys": {}}', "is no JWKS"),
        ("[" * 100_000, "is no JWKS"),
        (" " * (1 << 20) + json.dumps(JWKS), "is no JWKS"),
        ([], "has no key with a kid"),
        ([{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}], "has no key with a kid"),
        ([jwk(ELLIPTIC, "a", use="enc"), jwk(ELLIPTIC, "b", crv=5), 5], "has no key with a kid"),
        ([{**jwk(LONG, "a"), "alg": "HS256"}], "has no key with a kid"),
        ([jwk(ELLIPTIC, "a"), jwk(STRANGER, "a")], "two keys have the kid 'a'"),
        ([jwk(weak(), "a")], "too short"),
        ([{**jwk(ELLIPTIC, "a"), "d": "x"}], "private"),
    ],
)
def test_f11_a_file_without_keys_that_verify_is_no_start(
    telco_model: Model, jwks: Path, auth: dict[str, Any], content: Any, told: str
):
    put(jwks, json.dumps({"keys": content}) if isinstance(content, list) else content)
    with pytest.raises(ConfigInvalidError, match=told):
        serving_of(telco_model, **auth)


@pytest.mark.parametrize(
    ("granted", "status"),
    [
        ({"scope": "other predict"}, 200),
        ({"scp": ["predict"]}, 200),
        ({"scp": "predict"}, 200),
        ({"scope": "predictions"}, 403),
        ({"scope": ""}, 403),
        ({"scp": ["other"]}, 403),
        ({"scope": 5}, 403),
        ({"scope": {"predict": 1}}, 403),
        ({}, 403),
    ],
    ids=str,
)
async def test_f11_a_token_without_the_scope_is_403(
    telco_model: Model, auth: dict[str, Any], granted: dict[str, Any], status: int
):
    async with running_on(serving_of(telco_model, **auth, auth_scope="predict")) as running:
        answer = await answer_whole_and_in_pieces(running, asked(token(**granted)))
        assert statuses(answer) == [status]
        assert (b'error="insufficient_scope", scope="predict"' in answer) == (status == 403)


def identify(tokens: Tokens, shown: str) -> int:
    try:
        tokens.identify([(b"authorization", f"Bearer {shown}".encode())])
    except RequestError as error:
        return error.status
    return 200


def test_f11_a_token_that_was_good_is_refused_once_it_has_expired(jwks: Path, auth: dict[str, Any]):
    tokens = Tokens(jwks, Settings(**auth, auth_leeway_seconds=0))
    while True:
        expires = int(time.time()) + 2
        shown = token(exp=expires)
        status = identify(tokens, shown)
        if time.time() < expires:  # else it was asked too late, and another is
            break
    assert status == 200
    while time.time() <= expires:
        time.sleep(0.05)
    assert identify(tokens, shown) == 401


def test_tokens_that_were_verified_are_remembered_for_a_minute_and_some_thousand_at_most(
    jwks: Path, auth: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("churn_serving.server.access.tokens._MAX_VERIFIED", 8)
    now = [time.time()]
    tokens = Tokens(jwks, Settings(**auth), clock=lambda: now[0])
    shown = [token(sub=str(number)) for number in range(30)]
    assert {identify(tokens, each) for each in shown} == {200}
    assert len(tokens._verified) <= 8
    tokens._keys.clear()
    assert [identify(tokens, shown[at]) for at in (-1, 0)] == [200, 401]
    now[0] += 61
    assert identify(tokens, shown[-1]) == 401


async def test_metrics_do_not_grow_with_who_asks(guarded: Running):
    for number in range(5):
        await guarded.ask(asked(token(sub=f"customer {number}")))
    scraped = exposed(guarded.serving)
    assert 'http_caller_requests_total{caller="jwt",status="200"} 5.0' in scraped
    assert "customer" not in scraped


@given(shown=st.one_of(st.binary(max_size=200), st.from_regex(rb"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True)))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_shown_as_a_token_it_is_401_and_no_failure(
    jwks: Path, auth: dict[str, Any], shown: bytes
):
    with pytest.raises(RequestError) as refused:
        Tokens(jwks, Settings(**auth)).identify([(b"authorization", b"Bearer " + shown)])
    assert refused.value.status == 401


@pytest.mark.parametrize("left_out", ["auth", "auth_jwks", "auth_issuer", "auth_audience"])
def test_tokens_need_keys_issuer_and_audience(auth: dict[str, Any], left_out: str):
    given = {name: str(value) for name, value in auth.items() if name != left_out}
    with pytest.raises(ConfigInvalidError, match="auth"):
        load_settings({"model": "m", **given}, {})


def test_the_documents_example_of_tokens_works_as_it_stands(jwks: Path):
    serving, asking = documented("churn-serving serve --model k8s/samples/bundle --auth jwt")
    with served(*as_here(serving, {"jwks.json": jwks})) as server:
        assert server.ready["auth"] == "jwt"
        assert asked_as(asking, server, {"$TOKEN": token()}) == 200
        assert asked_as(asking, server, {"$TOKEN": token(STRANGER)}) == 401
