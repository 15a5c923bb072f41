"""What a request holds until its answer has been taken: its place, its folder.

A handler returns before its answer is sent. What it gave back there would be free for the next
request while the answer, which may be large, still waits for a client that does not read.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_KEY = "brainmvp.held"
_PIECE = 1 << 16


class RequestResources(AsyncExitStack):
    """What a request holds; ``any`` says whether there is something."""

    any = False

    async def release(self) -> None:
        """Give everything back, also where the request is just being cancelled."""
        with anyio.CancelScope(shield=True):
            await self.aclose()


def resources_of(request: Request) -> RequestResources:
    """The stack of what the request holds, for its handler to put something on it."""
    resources: RequestResources = request.scope[_KEY]
    resources.any = True
    return resources


class ReleaseWhenSent:
    """ASGI middleware that has each request let go of what it holds when its answer is taken.

    That is before the last piece is sent: a client that has its whole answer finds its place free.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        resources = scope[_KEY] = RequestResources()
        try:
            await self._app(scope, receive, _InPieces(resources, send))
        finally:
            await resources.release()


class _InPieces:
    """``send`` for the answer of a request that holds something.

    A server that is given a whole body buffers it and returns at once. Given in pieces, each waits
    until there is room for it.
    """

    def __init__(self, resources: RequestResources, send: Send) -> None:
        self._held = resources
        self._send = send
        self._head: Message | None = None
        self._last = b""

    async def __call__(self, message: Message) -> None:
        if not self._held.any:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._head = message
        elif message["type"] == "http.response.body":
            await self._body(message.get("body", b""), message.get("more_body", False))

    async def _body(self, body: bytes, more: bool) -> None:
        for start in range(0, len(body), _PIECE):
            if self._last:
                await self._put(self._last, more=True)
            self._last = body[start : start + _PIECE]
        if not more:
            if self._head is None:
                await self._put(b"", more=True)  # when it returns, what was sent before has left
            await self._held.release()
            await self._put(self._last, more=False)

    async def _put(self, piece: bytes, *, more: bool) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            await self._send(head)
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})
