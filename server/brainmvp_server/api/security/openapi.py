"""What the OpenAPI document says of keys and tokens."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from brainmvp_server.api.caller import Door, Need, Scope
from brainmvp_server.api.openapi import PROBLEM
from brainmvp_server.api.security.scopes import CALLS

_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key (`brainmvp keys new NAME`), or a token of the configured issuer.",
}
_REFUSED = {
    "401": ("No key or token, or one that is not valid", PROBLEM),
    "403": ("A key or token without the scope", PROBLEM),
}


def describe(app: FastAPI) -> None:
    """Add to each call of the document of ``app`` what it needs."""
    plain = app.openapi
    needs = {path.replace(":path}", "}"): need for path, need in CALLS.items()}

    def openapi() -> dict[str, Any]:
        document = plain()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        if "bearer" not in schemes:
            schemes["bearer"] = _SCHEME
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _add(operation, needs.get(path, Scope.ADMIN))
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _add(operation: dict[str, Any], need: Need) -> None:
    if need is Door.OPEN:
        return
    operation["security"] = [{"bearer": []}]
    for status, (meaning, problem) in _REFUSED.items():
        response = {"description": meaning, "content": problem["content"]}
        operation["responses"].setdefault(status, response)
