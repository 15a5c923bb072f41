"""Work for a client that may leave before it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import CapacityLimiter
from fastapi import Request

from brainmvp_models.errors import StudyCancelled
from brainmvp_server.inference.stop import Stop

T = TypeVar("T")


async def attended(
    request: Request, stop: Stop, work: Callable[[], T], limiter: CapacityLimiter
) -> T:
    """What ``work`` gives, in a thread of ``limiter``; ``stop`` is told when the client leaves.

    The request's body must have been read: what comes after it is the end of the connection.
    """
    watch = asyncio.create_task(_watch(request, stop))
    try:
        return await anyio.to_thread.run_sync(work, limiter=limiter)
    finally:
        watch.cancel()


async def _watch(request: Request, stop: Stop) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    stop.tell(StudyCancelled("the client left", remedy="Send the study again"))
