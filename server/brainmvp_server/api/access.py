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
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmvp_server.observability.logs import request_id

if TYPE_CHECKING:
    from brainmvp_server.api.security.scopes import Caller

log = logging.getLogger("brainmvp.access")

HEADER = "x-request-id"
# Digits and hyphens only, as in a UUID or a trace id: a longer alphabet could spell a name.
_ID = re.compile(r"[0-9a-fA-F-]{16,64}")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_KEY = "brainmvp.access"


@dataclass
class Access:
    """What is known of a request by now.

    Attributes:
        id: the request's id.
        call: the call, such as ``/v1/models/{name}``; None where there is none.
        caller: who makes it, once that is known.
        model, version, digest: the bundle it is about, once that is known.
        problem: the code of the error it ended with.
        status: the HTTP status; 499 where the client left before there was one.
    """

    id: str
    call: str | None = None
    caller: Caller | None = None
    model: str | None = None
    version: str | None = None
    digest: str | None = None
    problem: str | None = None
    status: int = 499
    started: float = field(default_factory=time.perf_counter)

    def about(self, model: str, version: str, digest: str) -> None:
        """Say which bundle the request is about."""
        self.model, self.version, self.digest = model, version, digest

    def line(self, method: str) -> Mapping[str, Any]:
        """The fields of the log line."""
        return {
            "caller": self.caller.name if self.caller else None,
            "method": method if method in _METHODS else "other",
            "call": self.call,
            "model": self.model,
            "version": self.version,
            "bundle": self.digest,
            "status": self.status,
            "problem": self.problem,
            "seconds": round(time.perf_counter() - self.started, 4),
        }


def access_of(scope: Scope) -> Access:
    """The record of a request; a new one where nobody keeps it."""
    access: Access = scope.setdefault(_KEY, Access(id=""))
    return access


class AccessLog:
    """ASGI middleware that keeps the record, and gives every request and answer an id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        access = scope[_KEY] = Access(id=_accepted(Headers(scope=scope).get(HEADER)))
        token = request_id.set(access.id)

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                access.status = message["status"]
                MutableHeaders(scope=message)[HEADER] = access.id
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            _write(access, scope["method"])
            request_id.reset(token)


def _write(access: Access, method: str) -> None:
    quiet = access.call is not None and access.call.startswith("/health/")
    level = logging.DEBUG if quiet else logging.INFO
    log.log(level, "access", extra={"fields": access.line(method)})


def _accepted(given: str | None) -> str:
    """The client's id, if it is one that is fit to be logged; else one of ours."""
    return given if given and _ID.fullmatch(given) else secrets.token_hex(16)
