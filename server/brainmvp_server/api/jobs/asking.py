"""Asking the store of jobs from the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import CapacityLimiter
from fastapi import Request

from brainmvp_server.api.openapi import owner_of
from brainmvp_server.jobs.job import Job
from brainmvp_server.jobs.store import JobStore

T = TypeVar("T")

_THREADS = 16


class AskedStore:
    """A store, asked in threads of their own: a database that is away holds up no other call."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self._threads = CapacityLimiter(_THREADS)

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, in one of the threads."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def job(self, request: Request, job: str) -> Job:
        """One job of whoever asks.

        Raises:
            UnknownJob: there is none of that id, or it is somebody else's.
        """
        owner = owner_of(request)
        return await self.run(lambda: self.store.job(owner, job))
