"""From start to end: a service that is told to end finishes what it can, and leaves the rest whole.

At the first SIGTERM or SIGINT readiness goes off and no study is taken any more. Requests that are
under way and jobs that run have the grace time; after it requests are answered 503, and jobs are
left in the database for the next start.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn

from brainmvp_server.runtime.service import Service

if TYPE_CHECKING:
    from brainmvp_server.jobs.backend import JobBackend


class Lifecycle:
    """A service and its jobs, from the first request to the last."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.backend = _job_backend(service)
        self._ending: threading.Thread | None = None

    def begin(self) -> None:
        """Follow the model folder; take up the jobs that were left."""
        self.service.start()
        if self.backend is not None:
            self.backend.start()

    def drain(self) -> None:
        """Take nothing new; returns at once."""
        self.service.drain()
        if self._ending is None and self.backend is not None:
            self._ending = threading.Thread(target=self._close_jobs, name="ending", daemon=True)
            self._ending.start()

    def end(self) -> None:
        """End what still runs, and free everything."""
        self.drain()
        if self._ending is not None:
            self._ending.join()
        self.service.close()

    def leave(self) -> None:
        """End the process, if a job was left for the next start: its thread would keep it."""
        if self.backend is not None and self.backend.busy:
            os._exit(0)

    def _close_jobs(self) -> None:
        assert self.backend is not None
        self.backend.close(self.service.settings.service.grace_s)


class GracefulServer(uvicorn.Server):
    """uvicorn, ending as this module says.

    Args:
        ready: called when the first request can come.
        over: called when the last one is answered; the signal that began the end is raised again
            after it, and may leave time for nothing else.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        lifecycle: Lifecycle,
        ready: Callable[[], None],
        over: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._ready = ready
        self._over = over
        self._told = False

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        await super().shutdown(sockets)
        await anyio.to_thread.run_sync(self._over)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end; a second SIGINT makes it short."""
        if self._told:
            self._lifecycle.service.stop()
            super().handle_exit(sig, frame)
            return
        self._told = True
        settings = self._lifecycle.service.settings.service
        self._lifecycle.drain()
        _later(settings.drain_s, lambda: uvicorn.Server.handle_exit(self, sig, frame))
        _later(settings.drain_s + settings.grace_s, self._lifecycle.service.stop)


def _later(seconds: float, work: Callable[[], None]) -> None:
    """Call ``work`` from a thread after so many seconds."""
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()


def _job_backend(service: Service) -> JobBackend | None:
    """The jobs' backend, imported only where there are jobs: it is slow to import."""
    if service.settings.jobs.jobs_storage is None:
        return None
    from brainmvp_server.jobs.backend import open_backend

    return open_backend(service)
