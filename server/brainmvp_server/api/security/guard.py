"""The door: every request passes here before any route sees it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmvp_models.errors import BrainMVPError, InvalidSettings
from brainmvp_server.api import problems
from brainmvp_server.api.access import access_of
from brainmvp_server.api.caller import ANYONE, Caller, Door, Need
from brainmvp_server.api.caller import Scope as Right
from brainmvp_server.api.problems import Forbidden, HeadTooLarge, Unauthenticated
from brainmvp_server.api.root_path import path_of
from brainmvp_server.api.security.keys import PREFIX, KeyRing
from brainmvp_server.api.security.scopes import CALLS, METRICS, call_of
from brainmvp_server.api.security.tokens import Issuer, TokenVerifier
from brainmvp_server.settings import Settings

_SEND = "Send a key or token as 'Authorization: Bearer …'"


@dataclass(frozen=True)
class Authenticator:
    """Tells who calls; with neither keys nor tokens, anyone may."""

    keys: KeyRing | None = None
    tokens: TokenVerifier | None = None

    @classmethod
    def of(cls, settings: Settings) -> Authenticator:
        """As the settings say.

        Raises:
            InvalidSettings: others could reach the service, and nothing tells who they are.
        """
        security = settings.security
        if not security.auth:
            return cls()
        keys = KeyRing(security.keys_file) if security.keys_file else None
        tokens = None
        if security.oidc_issuer and security.oidc_audience:
            tokens = TokenVerifier(
                Issuer(
                    url=security.oidc_issuer,
                    audience=security.oidc_audience,
                    algorithms=security.oidc_algorithms,
                    scope_claim=security.oidc_scope_claim,
                    scope_prefix=security.oidc_scope_prefix,
                )
            )
        if keys is None and tokens is None and not is_loopback(settings.service.host):
            raise InvalidSettings(
                "others could reach the service, and nothing tells who they are",
                remedy=(
                    "Make a key with 'brainmvp keys new NAME' and give --keys-file keys.json, or "
                    "name an --oidc-issuer, or give --no-auth behind something that authenticates"
                ),
                subject=f"--host {settings.service.host}",
            )
        return cls(keys, tokens)

    @property
    def asks(self) -> bool:
        """Must a caller show something?"""
        return self.keys is not None or self.tokens is not None

    async def caller(self, authorization: str | None) -> Caller:
        """Who sends that ``Authorization`` header.

        Raises:
            Unauthenticated: nobody that is known.
            IssuerUnavailable: a token whose issuer cannot be asked.
        """
        if not self.asks:
            return ANYONE
        scheme, _, word = (authorization or "").partition(" ")
        word = word.strip()
        if scheme.lower() != "bearer" or not word:
            raise Unauthenticated("no key or token was sent", remedy=_SEND)
        if self.tokens is not None and not word.startswith(PREFIX):
            return await self.tokens.caller(word)
        caller = self.keys.caller(word) if self.keys is not None else None
        if caller is None:
            raise Unauthenticated("the key is unknown, revoked or expired", remedy=_SEND)
        return caller


class Guard:
    """ASGI middleware that lets pass whoever may make the call."""

    def __init__(
        self, app: ASGIApp, authenticator: Authenticator, metrics_open: bool, head_bytes: int
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._needs = {**CALLS, METRICS: Door.OPEN} if metrics_open else CALLS
        self._head_bytes = head_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            access = access_of(scope)
            access.call = call_of(path_of(scope))
            try:
                self._measure(scope)
                need = self._needs[access.call] if access.call is not None else Right.ADMIN
                if need is not Door.OPEN:
                    access.caller = await self._admit(scope, need, access.call is not None)
            except BrainMVPError as error:
                response = problems.answer_error(error, access)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _measure(self, scope: Scope) -> None:
        """uvicorn bounds only what it has to wait for; what comes at once is measured here."""
        line = len(scope["raw_path"]) + len(scope["query_string"])
        if line + sum(len(name) + len(value) for name, value in scope["headers"]) > (
            self._head_bytes
        ):
            raise HeadTooLarge(
                f"the request's line and headers are larger than {self._head_bytes >> 10} KiB",
                remedy="Send fewer and shorter headers",
            )

    async def _admit(self, scope: Scope, need: Need, listed: bool) -> Caller:
        caller = await self._authenticator.caller(Headers(scope=scope).get("authorization"))
        if not caller.may(need):
            if not listed:
                raise problems.UnknownCall("there is no such call", remedy="See /docs")
            raise Forbidden(
                f"the call needs the scope '{need.value}'",
                remedy="Use a key or token that has it",
            )
        return caller


def is_loopback(host: str) -> bool:
    """Can only this machine reach what listens there?"""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
