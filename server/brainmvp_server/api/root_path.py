"""The service under a path of a proxy, such as ``https://hospital.example/brainmvp/``."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """ASGI middleware that says where the service is; a proxy may keep the path or take it off.

    Args:
        root_path: such as ``/brainmvp``; empty for none.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._root:
            path: str = scope["path"]
            if path == self._root:  # the page's own addresses are relative to a folder
                await RedirectResponse(f"{self._root}/")(scope, receive, send)
                return
            if not path.startswith(f"{self._root}/"):
                path = self._root + path
            scope = {**scope, "root_path": self._root, "path": path}
        await self._app(scope, receive, send)


def path_of(scope: Scope) -> str:
    """The request's path as the service's routes know it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
