"""One record a request: who asked for what, how it ended, and how long it took.

It is written when the response has been sent, as one line of the log ``brainmvp.access``. It never
holds a path, a query, a file name or anything else that a client wrote freely.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmvp_models.bundle import Bundle
from brainmvp_server.api.caller import Caller
from brainmvp_server.observability.logs import request_id
from brainmvp_server.observability.metrics import Metrics
from brainmvp_server.observability.traces import tracing

log = logging.getLogger("brainmvp.access")

HEADER = "x-request-id"
# Digits and hyphens only, as in a UUID or a trace id: a longer alphabet could spell a name.
_ID = re.compile(r"[0-9a-fA-F-]{16,64}")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CLIENT_LEFT = 499
_KEY = "brainmvp.access"


@dataclass
class Access:
    """What is known of a request by now.

    Attributes:
        id: the request's id.
        method: the HTTP method; ``other`` where it is none of the usual ones.
        call: the call, such as ``/v1/models/{name}``; None where there is none.
        caller: who makes it, once that is known.
        model, version, digest: the bundle it is about, once that is known.
        problem: the code of the error it ended with.
        status: the HTTP status; 499 where the client left before there was one.
    """

    id: str
    method: str = ""
    call: str | None = None
    caller: Caller | None = None
    model: str | None = None
    version: str | None = None
    digest: str | None = None
    problem: str | None = None
    status: int = _CLIENT_LEFT
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if self.method not in _METHODS:
            self.method = "other"

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.perf_counter() - self.started

    def about(self, bundle: Bundle) -> None:
        """Say which bundle the request is about."""
        manifest = bundle.manifest
        self.model, self.version, self.digest = manifest.name, manifest.version, bundle.digest

    def line(self) -> Mapping[str, Any]:
        """The fields of the log line."""
        return {
            "caller": self.caller.name if self.caller else None,
            "method": self.method,
            "call": self.call,
            "model": self.model,
            "version": self.version,
            "bundle": self.digest,
            "status": self.status,
            "problem": self.problem,
            "seconds": round(self.seconds, 4),
        }


def access_of(scope: Scope) -> Access:
    """The record of a request; a new one where nobody keeps it."""
    access: Access = scope.setdefault(_KEY, Access(id=""))
    return access


class AccessLog:
    """ASGI middleware that keeps the record, and gives every request and answer an id."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        access = scope[_KEY] = Access(id=_accepted(headers.get(HEADER)), method=scope["method"])
        token = request_id.set(access.id)

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                access.status = message["status"]
                MutableHeaders(scope=message)[HEADER] = access.id
            await send(message)

        self._metrics.request_began()
        try:
            with tracing.span("request", headers.get("traceparent")) as attributes:
                try:
                    await self._app(scope, receive, watch)
                finally:
                    attributes.update(_attributes(access))
        finally:
            self._end(access)
            request_id.reset(token)

    def _end(self, access: Access) -> None:
        call = access.call or "other"
        self._metrics.request_done(
            call, access.method, access.status, access.problem, access.seconds
        )
        level = logging.DEBUG if call.startswith("/health/") else logging.INFO
        log.log(level, "access", extra={"fields": access.line()})


def _attributes(access: Access) -> dict[str, Any]:
    """What a span says of the request (OpenTelemetry's names where it has them)."""
    return {
        "name": f"{access.method} {access.call or 'other'}",
        "http.request.method": access.method,
        "http.route": access.call,
        "http.response.status_code": access.status,
        "brainmvp.model": access.model,
        "brainmvp.problem": access.problem,
        "brainmvp.request_id": access.id,
    }


def _accepted(given: str | None) -> str:
    """The client's id, if it is one that is fit to be logged; else one of ours."""
    return given if given and _ID.fullmatch(given) else secrets.token_hex(16)
