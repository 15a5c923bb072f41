"""Which call needs what: one table."""

from __future__ import annotations

import re
from functools import cache

from starlette.routing import compile_path

from brainmvp_server.api.caller import Door, Need, Scope

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
    "/v1/compare": Scope.PREDICT,
    "/v1/models/{name}/jobs": Scope.JOBS,
    "/info/": Door.KNOWN,
    "/auth/": Door.OPEN,
    "/auth/token": Door.OPEN,
    "/auth/token/valid": Door.KNOWN,
    "/infer/{name}": Scope.PREDICT,
    "/session/": Scope.PREDICT,
    "/session/{session}": Scope.PREDICT,
    "/datastore/": Scope.PREDICT,
    "/datastore/image": Scope.PREDICT,
    "/v1/jobs": Scope.JOBS,
    "/v1/jobs/{job}": Scope.JOBS,
    "/v1/jobs/{job}/events": Scope.JOBS,
    "/v1/jobs/{job}/results": Scope.JOBS,
    "/v1/jobs/{job}/results/{file:path}": Scope.JOBS,
}
"""What each call needs. One that is not here is there for ``admin`` alone."""

METRICS = "/metrics"


def call_of(path: str) -> str | None:
    """The call that a request's path belongs to, such as ``/v1/models/{name}``."""
    for template, pattern in _patterns():
        if pattern.match(path):
            return template
    return None


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((template, compile_path(template)[0]) for template in CALLS)
