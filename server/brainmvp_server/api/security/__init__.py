"""Who may do what: API keys, bearer tokens, scopes, and the headers that browsers heed."""

from fastapi import FastAPI

from brainmvp_server.api.security.described import describe
from brainmvp_server.api.security.guard import Authenticator, Guard
from brainmvp_server.api.security.headers import SecurityHeaders
from brainmvp_server.settings import Settings


def install(app: FastAPI, settings: Settings) -> None:
    """Put the door before every route of ``app``.

    Raises:
        InvalidSettings: others could reach the service, and nothing tells who they are; or the keys
            cannot be read.
    """
    app.add_middleware(
        Guard,
        authenticator=Authenticator.of(settings),
        metrics_open=settings.security.metrics_open,
        head_bytes=settings.limits.header_kb << 10,
    )
    describe(app)
    app.add_middleware(SecurityHeaders, tls=settings.security.tls_cert is not None)
