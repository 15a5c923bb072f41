"""Bearer tokens, against a real issuer on this machine that publishes and rotates its keys."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from brainmvp_server.api.caller import Scope
from brainmvp_server.api.problems import IssuerUnavailable, Unauthenticated
from brainmvp_server.api.security.tokens import Issuer, TokenVerifier

from ..conftest import running

AUDIENCE = "brainmvp"


@dataclass
class Local:
    """An OpenID Connect issuer: its address, its keys, and how often they were fetched."""

    url: str = ""
    keys: dict[str, Any] = field(default_factory=dict)
    fetched: int = 0
    broken: bool = False

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        def discovery() -> dict[str, str]:
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

        @app.get("/keys")
        def keys() -> dict[str, Any]:
            self.fetched += 1
            if self.broken:
                raise RuntimeError
            return {"keys": [_published(kid, key) for kid, key in self.keys.items()]}

        return app

    def token(self, kid: str, *, without: str = "", headers: Any = None, **claims: Any) -> str:
        key = self.keys[kid]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        payload = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "reader",
            "exp": time.time() + 300,
            "scope": "openid predict",
            **claims,
        }
        payload.pop(without, None)
        return jwt.encode(payload, key, algorithm, headers={"kid": kid, **(headers or {})})


def _published(kid: str, key: Any) -> dict[str, Any]:
    rsa_key = isinstance(key, rsa.RSAPrivateKey)
    algorithm: Any = jwt.algorithms.RSAAlgorithm if rsa_key else jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}


@pytest.fixture(scope="module")
def pairs() -> dict[str, Any]:
    return {
        "rsa": rsa.generate_private_key(65537, 2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "stranger": ec.generate_private_key(ec.SECP256R1()),
    }


@pytest.fixture(scope="module")
def server() -> Iterator[Local]:
    local = Local()
    with running(local.app()) as http:
        local.url = str(http.base_url).rstrip("/")
        yield local


@pytest.fixture
def local(server: Local, pairs: dict[str, Any]) -> Local:
    server.keys, server.fetched, server.broken = {"r": pairs["rsa"], "e": pairs["ec"]}, 0, False
    return server


def verifier(local: Local, **settings: Any) -> TokenVerifier:
    issuer = Issuer(local.url, AUDIENCE, ("RS256", "ES256"), "scope", "")
    return TokenVerifier(issuer, **settings)


@pytest.mark.parametrize("kid", ["r", "e"])
def test_a_good_token_names_its_subject_and_scopes(local: Local, kid: str) -> None:
    caller = asyncio.run(verifier(local).caller(local.token(kid)))
    assert caller.name == "reader"
    assert caller.scopes == {Scope.PREDICT}


def test_no_token_shares_its_jobs_with_a_key_or_another_subject(local: Local) -> None:
    check = verifier(local)
    subjects = ["pacs", "x" * 50, "x" * 50 + "y"]
    callers = [asyncio.run(check.caller(local.token("r", sub=subject))) for subject in subjects]
    owners = {caller.owner for caller in callers} | {"key:pacs", ""}
    assert len(owners) == 5


@pytest.mark.parametrize(
    ("claim", "prefix", "held", "scopes"),
    [
        ("scope", "", "jobs  admin", {Scope.JOBS, Scope.ADMIN}),
        ("roles", "brainmvp:", ["brainmvp:jobs", "predict", {"a": 1}], {Scope.JOBS}),
        ("scp", "", {"predict": True}, set()),
        ("scp", "", None, set()),
    ],
)
def test_scopes_are_read_from_the_configured_claim_alone(
    local: Local, claim: str, prefix: str, held: Any, scopes: set[Scope]
) -> None:
    issuer = Issuer(local.url, AUDIENCE, ("RS256",), claim, prefix)
    token = local.token("r", **{"scope": "admin", claim: held})
    assert asyncio.run(TokenVerifier(issuer).caller(token)).scopes == scopes


CLAIMS = {
    "another audience": {"aud": "other"},
    "another issuer": {"iss": "https://elsewhere.example"},
    "expired": {"exp": time.time() - 3600},
    "not yet valid": {"nbf": time.time() + 3600},
    "issued later": {"iat": time.time() + 3600},
    "no expiry": {"without": "exp"},
    "no audience": {"without": "aud"},
    "no issuer": {"without": "iss"},
    "no subject": {"without": "sub"},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_token_with_wrong_claims_is_refused(local: Local, name: str) -> None:
    with pytest.raises(Unauthenticated):
        asyncio.run(verifier(local).caller(local.token("r", **CLAIMS[name])))


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_unsigned_tokens_and_tokens_signed_by_the_public_key_are_refused(local: Local) -> None:
    payload = local.token("r").split(".")[1]
    public = local.keys["r"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    import hashlib
    import hmac

    head = f"{_part({'alg': 'HS256', 'kid': 'r'})}.{payload}"
    mac = base64.urlsafe_b64encode(hmac.digest(pem, head.encode(), hashlib.sha256)).rstrip(b"=")
    swapped = local.token("e", headers={"kid": "r"})
    foreign = local.token("r").rsplit(".", 1)[0] + "." + local.token("e").rsplit(".", 1)[1]
    nested = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 20_000).rstrip(b"=").decode()
    for token in (
        f"{_part({'alg': 'none', 'kid': 'r'})}.{payload}.",
        f"{_part({'alg': ['RS256'], 'kid': 'r'})}.{payload}.x",
        f"{head}.{mac.decode()}",
        f"{nested}.{payload}.x",
        swapped,
        foreign,
    ):
        with pytest.raises(Unauthenticated):
            asyncio.run(verifier(local).caller(token))


@given(token=st.text() | st.from_regex(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"))
def test_no_text_is_anything_but_refused(token: str) -> None:
    issuer = Issuer("http://127.0.0.1:9", AUDIENCE, ("RS256",), "scope", "")
    with pytest.raises(Unauthenticated):
        asyncio.run(TokenVerifier(issuer).caller(token))


def test_keys_are_fetched_once_and_again_only_for_a_new_one(
    local: Local, pairs: dict[str, Any]
) -> None:
    async def story() -> None:
        check = verifier(local, again=0.0)
        await asyncio.gather(*(check.caller(local.token("r")) for _ in range(20)))
        assert local.fetched == 1
        local.keys = {"next": pairs["stranger"]}
        await check.caller(local.token("next"))
        assert local.fetched == 2
        local.keys = {"r": pairs["rsa"]}
        with pytest.raises(Unauthenticated):
            await check.caller(local.token("r", headers={"kid": "unknown"}))

    asyncio.run(story())


def test_unknown_keys_cannot_make_us_flood_the_issuer(local: Local, pairs: dict[str, Any]) -> None:
    async def story() -> None:
        check = verifier(local)
        await check.caller(local.token("r"))
        for number in range(50):
            with pytest.raises(Unauthenticated, match="does not publish"):
                await check.caller(local.token("r", headers={"kid": f"k{number}"}))
        assert local.fetched == 1

    asyncio.run(story())


def test_an_issuer_that_is_away_stops_only_those_it_has_not_vouched_for(local: Local) -> None:
    async def story() -> None:
        known = verifier(local, again=0.0)
        await known.caller(local.token("r"))
        known._fetched -= 7200
        local.broken = True
        await known.caller(local.token("r"))
        with pytest.raises(Unauthenticated):
            await known.caller(local.token("r", headers={"kid": "new"}))
        with pytest.raises(IssuerUnavailable):
            await verifier(local).caller(local.token("r"))
        known._fetched -= 90_000
        with pytest.raises(IssuerUnavailable):
            await known.caller(local.token("r"))

    asyncio.run(story())


def test_an_issuer_that_calls_itself_otherwise_is_not_believed(local: Local) -> None:
    issuer = Issuer(local.url + "/", AUDIENCE, ("RS256",), "scope", "")
    with pytest.raises(IssuerUnavailable):
        asyncio.run(TokenVerifier(issuer).caller(local.token("r", iss=local.url + "/")))
