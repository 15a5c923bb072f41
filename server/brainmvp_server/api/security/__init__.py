"""Who may do what: API keys, bearer tokens, scopes, and the headers that browsers heed."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from brainmvp_server.api.security.guard import Authenticator, Guard
from brainmvp_server.api.security.headers import SecurityHeaders
from brainmvp_server.api.security.openapi import describe
from brainmvp_server.api.security.origins import Origins, Reachable
from brainmvp_server.settings import Settings

__all__ = ["Authenticator", "install"]


def install(app: FastAPI, settings: Settings, authenticator: Authenticator) -> None:
    """Put the door before every route of ``app``."""
    app.add_middleware(
        Guard,
        authenticator=authenticator,
        metrics_open=settings.security.metrics_open,
        head_bytes=settings.limits.header_kb << 10,
    )
    describe(app)
    if settings.security.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.security.allowed_origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE"),
            allow_headers=("authorization", "idempotency-key", "traceparent", "x-request-id"),
            expose_headers=(
                "content-disposition",
                "location",
                "ratelimit",
                "ratelimit-policy",
                "retry-after",
                "x-request-id",
            ),
        )
    app.add_middleware(Origins, reachable=Reachable.of(settings, asks_for_keys=authenticator.asks))
    app.add_middleware(SecurityHeaders, tls=settings.security.tls_cert is not None)
