"""What a caller may do, and which call needs what: one table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache

from starlette.routing import compile_path


class Scope(str, Enum):
    """What a key or a token is good for."""

    PREDICT = "predict"
    JOBS = "jobs"
    ADMIN = "admin"


class Door(str, Enum):
    """A call that needs no scope."""

    OPEN = "open"
    """Anyone may call."""
    KNOWN = "known"
    """Whoever shows a valid key or token may call."""


Need = Scope | Door

CALLS: dict[str, Need] = {
    "/health/live": Door.OPEN,
    "/health/ready": Door.OPEN,
    "/": Door.OPEN,
    "/page/{file}": Door.OPEN,
    "/docs": Door.OPEN,
    "/openapi.json": Door.OPEN,
    "/metrics": Scope.ADMIN,
    "/v1/models": Door.KNOWN,
    "/v1/models/{name}": Door.KNOWN,
    "/v1/models/{name}/predict": Scope.PREDICT,
    "/v1/studies/identify": Scope.PREDICT,
    "/v1/models/{name}/jobs": Scope.JOBS,
    "/v1/jobs": Scope.JOBS,
    "/v1/jobs/{job}": Scope.JOBS,
    "/v1/jobs/{job}/events": Scope.JOBS,
    "/v1/jobs/{job}/results": Scope.JOBS,
    "/v1/jobs/{job}/results/{file:path}": Scope.JOBS,
}
"""What each call needs. One that is not here is there for ``admin`` alone."""

METRICS = "/metrics"


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes:
        name: the key's name, or the token's subject.
        scopes: what they may do; ``admin`` may do everything.
        owner: what their jobs are filed under; no key shares it with a token.
    """

    name: str
    scopes: frozenset[Scope]
    owner: str = ""

    def may(self, need: Need) -> bool:
        """Is the need met?"""
        return isinstance(need, Door) or bool(self.scopes & {need, Scope.ADMIN})


ANYONE = Caller("anyone", frozenset(Scope))
"""The caller where authentication is off."""


def call_of(path: str) -> str | None:
    """The call that a request's path belongs to, such as ``/v1/models/{name}``."""
    for template, pattern in _patterns():
        if pattern.match(path):
            return template
    return None


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((template, compile_path(template)[0]) for template in CALLS)
