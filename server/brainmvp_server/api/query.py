"""The query of a request, held against the parameters that its route declares.

A misspelt parameter would otherwise be left out, and of a repeated one the last would win, without
a word: the study is then done otherwise than was asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from brainmvp_models.modality import printable
from brainmvp_models.nearest import nearest
from brainmvp_server.api.problems import InvalidQuery


@dataclass(frozen=True)
class Parameter:
    """A query parameter as the OpenAPI document has it, and whether it may be given again."""

    name: str
    repeats: bool


def declared(request: Request) -> Mapping[str, Parameter] | None:
    """The query parameters of the request's route by name; None for a route outside the document,
    such as the page's."""
    route = request.scope.get("route")
    calls = request.app.openapi()["paths"].get(getattr(route, "path_format", ""), {})
    method = "get" if request.method == "HEAD" else request.method.lower()
    if method not in calls:
        return None
    parameters = calls[method].get("parameters", [])
    return {p["name"]: _parameter(p) for p in parameters if p["in"] == "query"}


async def only_declared(request: Request) -> None:
    """Refuse what the route does not declare, and what is given more often than it may be.

    A dependency of every route; it runs on the event loop, since the probes wait for no thread.

    Raises:
        InvalidQuery: a parameter that is none, or one that is repeated.
    """
    known = declared(request)
    if known is None:
        return
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            raise _unknown(name, known)
        if times > 1 and not known[name].repeats:
            raise InvalidQuery(
                f"'{name}' is given {times} times", remedy="Give it once: which one is meant?"
            )


def _parameter(described: Mapping[str, Any]) -> Parameter:
    schema = described["schema"]
    kinds = [schema, *schema.get("anyOf", ())]
    return Parameter(described["name"], any(kind.get("type") == "array" for kind in kinds))


def _unknown(name: str, known: Mapping[str, Parameter]) -> InvalidQuery:
    near = nearest(name.lower(), known)
    question = f"Did you mean {near}? " if near else ""
    names = f"takes {', '.join(sorted(known))}" if known else "takes no parameter"
    return InvalidQuery(
        f"there is no parameter '{printable(name)}'", remedy=f"{question}This call {names}"
    )
