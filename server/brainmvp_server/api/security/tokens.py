"""Bearer tokens of an OpenID Connect issuer, checked against its published keys.

The keys are fetched when they are first needed and kept. A token that names a key we do not know
makes us look again, but not more often than every half minute, so that nobody can make us flood
the issuer; an issuer that is away for a while stops nobody whose key is known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt

from brainmvp_models.modality import printable
from brainmvp_server.api.caller import Caller, Scope
from brainmvp_server.api.problems import IssuerUnavailable, Unauthenticated

log = logging.getLogger(__name__)

LEEWAY = 30
"""Seconds that the issuer's clock and ours may differ."""
_AGAIN = 30.0
_FRESH = 3600.0
_STALE = 86_400.0
_TIMEOUT = httpx.Timeout(5.0)
_MAX_DOCUMENT = 1 << 20
_REMEDY = "Send a valid key or token as 'Authorization: Bearer …'"


@dataclass(frozen=True)
class Issuer:
    """Whom we trust, and for what.

    Attributes:
        url: the issuer, as tokens name it in ``iss``.
        audience: what tokens for us name in ``aud``.
        algorithms: signatures that are accepted; none with a shared secret.
        scope_claim: the claim that holds the scopes, as words in a string or as a list.
        scope_prefix: what stands before our scopes there, such as ``brainmvp:``.
    """

    url: str
    audience: str
    algorithms: tuple[str, ...]
    scope_claim: str
    scope_prefix: str


@dataclass
class TokenVerifier:
    """Turns tokens into callers."""

    issuer: Issuer
    again: float = _AGAIN
    _keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    _fetched: float = float("-inf")
    _tried: float = float("-inf")
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def caller(self, token: str) -> Caller:
        """Whose token it is.

        Raises:
            Unauthenticated: not signed by the issuer, not for us, not yet or no longer valid.
            IssuerUnavailable: the issuer's keys are not known and cannot be fetched.
        """
        claims = await self._claims(token)
        subject = str(claims["sub"])
        return Caller(printable(subject), self._scopes(claims), f"token:{subject}")

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm not in self.issuer.algorithms:
                raise _refused("its signature is of a kind that is not accepted")
            key = await self._key(str(header.get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self.issuer.audience,
                issuer=self.issuer.url,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise _refused("its time is over") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise _refused("it is meant for another service or comes from another issuer") from None
        except (jwt.PyJWTError, TypeError, ValueError, RecursionError):
            raise _refused("it cannot be verified") from None
        return claims

    async def _key(self, kid: str) -> jwt.PyJWK:
        known, fresh = kid in self._keys, time.monotonic() - self._fetched <= _FRESH
        if not known or (not fresh and not self._fetching.locked()):
            async with self._fetching:
                await self._fetch_unless_tried(kid)
        if kid in self._keys:
            return self._keys[kid]
        if not self._keys:
            raise IssuerUnavailable(
                "the issuer of tokens cannot be reached",
                remedy="Try again shortly; if it lasts, the operator should check the issuer",
            )
        raise _refused("it is signed by a key that its issuer does not publish")

    async def _fetch_unless_tried(self, kid: str) -> None:
        now = time.monotonic()
        known = kid in self._keys and now - self._fetched <= _FRESH
        if known or now - self._tried < self.again:
            return
        self._tried = now
        try:
            self._keys = await self._published()
            self._fetched = now
        except (httpx.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            log.error("the issuer's keys cannot be fetched: %s", type(error).__name__)
            if now - self._fetched > _STALE:
                self._keys = {}

    async def _published(self) -> dict[str, jwt.PyJWK]:
        """The issuer's keys by id (OpenID Connect Discovery 1.0, section 4)."""
        discovery = self.issuer.url.rstrip("/") + "/.well-known/openid-configuration"
        async with httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False) as http:
            found = await _document(http, discovery)
            if found["issuer"] != self.issuer.url:
                raise ValueError("the issuer calls itself otherwise")
            keys = await _document(http, str(found["jwks_uri"]))
        usable = jwt.PyJWKSet.from_dict(keys).keys
        return {str(key.key_id or ""): key for key in usable if key.public_key_use in (None, "sig")}

    def _scopes(self, claims: dict[str, Any]) -> frozenset[Scope]:
        held = claims.get(self.issuer.scope_claim, "")
        words = held.split() if isinstance(held, str) else held
        if not isinstance(words, list):
            return frozenset()
        prefix = self.issuer.scope_prefix
        return frozenset(scope for scope in Scope if prefix + scope.value in words)


async def _document(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer = await http.get(url)
    answer.raise_for_status()
    if len(answer.content) > _MAX_DOCUMENT:
        raise ValueError("too large")
    document: dict[str, Any] = answer.json()
    return document


def _refused(problem: str) -> Unauthenticated:
    return Unauthenticated(f"the token is not accepted: {problem}", remedy=_REMEDY)
