"""The settings that say who may use the service."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from brainmvp_server.settings.group import Group, Words

_ASYMMETRIC = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
_SAFE_URL = re.compile(r"https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/]")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d+)?")
_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9.-]+")


class SecuritySettings(Group):
    """Who may use the service."""

    auth: bool = Field(
        default=True,
        description="Ask for a key or token; without any, only this machine may be listened to.",
    )
    keys_file: Path | None = Field(
        default=None, description="File of API keys, made by 'brainmvp keys'."
    )
    oidc_issuer: str | None = Field(
        default=None, description="OpenID Connect issuer whose bearer tokens are accepted."
    )
    oidc_audience: str | None = Field(
        default=None, description="What tokens for this service name as their audience."
    )
    oidc_algorithms: Words = Field(
        default=("RS256", "PS256", "ES256"), description="Signatures accepted on tokens."
    )
    oidc_scope_claim: str = Field(
        default="scope", description="The claim that holds a token's scopes."
    )
    oidc_scope_prefix: str = Field(
        default="", description="What stands before our scopes in that claim."
    )
    allowed_hosts: Words = Field(
        default=(),
        description="Names that requests may be sent to, such as brainmvp.example.org or "
        "*.example.org; * for any. Else any where keys or tokens are asked for, and localhost "
        "where they are not. Addresses always.",
    )
    allowed_origins: Words = Field(
        default=(),
        description="Origins whose pages may call the service through a browser, such as "
        "https://viewer.example.org (CORS); else its own page alone.",
    )
    metrics_open: bool = Field(
        default=False, description="Let anyone read /metrics; else it needs the scope admin."
    )
    tls_cert: Path | None = Field(
        default=None, description="Certificate chain (PEM); the service then speaks HTTPS."
    )
    tls_key: Path | None = Field(default=None, description="The certificate's private key (PEM).")
    tls_key_password: SecretStr | None = Field(
        default=None, description="The password of the private key."
    )

    @model_validator(mode="after")
    def _consistent(self) -> SecuritySettings:
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("oidc_issuer and oidc_audience need each other")
        if self.oidc_issuer is not None and not _SAFE_URL.match(self.oidc_issuer):
            raise ValueError("oidc_issuer must be an https address")
        shared = [name for name in self.oidc_algorithms if name not in _ASYMMETRIC]
        if shared or not self.oidc_algorithms:
            raise ValueError(f"oidc_algorithms must be some of {', '.join(_ASYMMETRIC)}")
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"'{origin}' is no origin; write https://viewer.example.org")
        for host in self.allowed_hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"'{host}' is no name; write brainmvp.example.org, without a port")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key need each other")
        return self
