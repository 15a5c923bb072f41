"""A request that brings a study: the same rules for all of them, from its first byte to its last.

It has a place among the requests, a folder for its files, and a right to go on that ends with its
time, its client or the service. It holds them until its answer has been taken (:mod:`held`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import CapacityLimiter
from fastapi import Request

from brainmvp_models.errors import ServiceClosing, StudyCancelled
from brainmvp_server.api.openapi import owner_of
from brainmvp_server.api.parts import Shelf, UploadLimits, receive
from brainmvp_server.api.request_resources import resources_of
from brainmvp_server.api.uploads import Upload, receive_study
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.runtime.scratch import Scratch
from brainmvp_server.runtime.service import Service

T = TypeVar("T")

_DISK_THREADS = 8
"""Threads that write uploads and remove folders: a slow disk holds up no other call."""


class StudyRequests:
    """Lets requests that bring a study in; one for all of a service's calls."""

    def __init__(self, service: Service) -> None:
        limits = service.settings.limits
        self._service = service
        self.limits = UploadLimits(
            limits.upload_bytes, limits.upload_parts, limits.upload_files, limits.upload_s
        )
        self._disk = CapacityLimiter(_DISK_THREADS)
        # Most of them wait for a place among the studies; more requests are not let in.
        self._workers = CapacityLimiter(limits.requests)

    async def admit(self, request: Request) -> StudyRequest:
        """A request's place, until its answer has been taken.

        Raises:
            ServiceClosing: nothing new is taken.
            Overloaded, TooManyRequests: there are enough requests.
        """
        service = self._service
        if service.draining:
            raise ServiceClosing("the service is closing", remedy="Send the study again")
        resources = resources_of(request)
        resources.enter_context(service.admission.request(owner_of(request)))
        cancel = resources.enter_context(service.study())
        folder = await resources.enter_async_context(self._folder(service.scratch))
        return StudyRequest(request, folder, cancel, self.limits, self._disk, self._workers)

    async def folder(self, request: Request) -> Path:
        """A folder for an answer that is packed from files, until it has been taken."""
        return await resources_of(request).enter_async_context(self._folder(self._service.scratch))

    @asynccontextmanager
    async def _folder(self, scratch: Scratch) -> AsyncIterator[Path]:
        """A folder that is made and removed beside the event loop."""
        inside = scratch.folder()
        path = await anyio.to_thread.run_sync(inside.__enter__, limiter=self._disk)
        try:
            yield path
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(
                    inside.__exit__, None, None, None, limiter=self._disk
                )


@dataclass(frozen=True)
class StudyRequest:
    """One request that was let in.

    Attributes:
        folder: for its files.
        cancel: whether it may go on.
    """

    request: Request
    folder: Path
    cancel: CancelToken
    limits: UploadLimits
    _disk: CapacityLimiter
    _workers: CapacityLimiter

    async def upload(self) -> Upload:
        """The study, written into the folder.

        Raises:
            BrainMVPError: see :func:`receive_study`.
        """
        return await receive_study(self.request, self.folder, self.limits, self._disk)

    async def parts(self, shelf: Callable[[bool], Shelf[T]]) -> T:
        """What came otherwise than as one study, written into the folder.

        Raises:
            BrainMVPError: see :func:`receive`.
        """
        return await receive(self.request, shelf, self.limits, self._disk)

    async def work(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, in a thread; ``cancel`` is told when the client leaves.

        The upload must have been read: what comes after it is the end of the connection.
        """
        watch = asyncio.create_task(self._watch())
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._workers)
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass
        self.cancel.request(StudyCancelled("the client left", remedy="Send the study again"))
