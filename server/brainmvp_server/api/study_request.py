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

from brainmvp_models.errors import ServiceClosing, StudyCancelled, StudyTimedOut
from brainmvp_server.api.openapi import owner_of
from brainmvp_server.api.parts import Shelf, UploadLimits, receive
from brainmvp_server.api.quotas import Quotas, Share
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

    def __init__(self, service: Service, quotas: Quotas) -> None:
        limits = service.settings.limits
        self._service = service
        self._quotas = quotas
        self.limits = UploadLimits(
            limits.upload_bytes, limits.upload_parts, limits.upload_files, limits.upload_s
        )
        self._disk = CapacityLimiter(_DISK_THREADS)
        # Most of them wait for a place among the studies; more requests are not let in.
        self._workers = CapacityLimiter(limits.requests)

    async def admit(self, request: Request, *, study: bool = True) -> StudyRequest:
        """A request's place, until its answer has been taken.

        Args:
            study: whether it has a study done; else it only sends one.

        Raises:
            ServiceClosing: nothing new is taken.
            Overloaded, TooManyRequests: there are enough requests.
            QuotaExceeded, UploadTooLarge: see :meth:`Quotas.share`.
        """
        service = self._service
        if service.draining:
            raise ServiceClosing("the service is closing", remedy="Send the study again")
        resources = resources_of(request)
        resources.enter_context(service.admission.request(owner_of(request)))
        share = await self._quotas.share(request, study=study)
        resources.push_async_callback(share.close)
        cancel = resources.enter_context(service.study())
        folder = await resources.enter_async_context(self._folder(service.scratch))
        return StudyRequest(request, folder, cancel, share, self.limits, self._disk, self._workers)

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
        share: what it takes of its caller's quotas.
    """

    request: Request
    folder: Path
    cancel: CancelToken
    share: Share
    limits: UploadLimits
    _disk: CapacityLimiter
    _workers: CapacityLimiter

    async def upload(self) -> Upload:
        """The study, written into the folder.

        Raises:
            BrainMVPError: see :func:`receive_study`.
        """
        try:
            return await receive_study(
                self.request, self.folder, self.limits, self._disk, self.share.add
            )
        finally:
            await self.share.body_over()

    async def parts(self, shelf: Callable[[bool], Shelf[T]]) -> T:
        """What came otherwise than as one study, written into the folder.

        Raises:
            BrainMVPError: see :func:`receive`.
        """
        try:
            return await receive(self.request, shelf, self.limits, self._disk, self.share.add)
        finally:
            await self.share.body_over()

    async def brings_nothing(self) -> bool:
        """Whether it has no body; the end of it has then been read."""
        headers = self.request.headers
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            return False
        await self.request.body()
        await self.share.body_over()
        return True

    async def work(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, in a thread; ``cancel`` is told when the client leaves.

        The study counts where it gives something, and where its client left or its time ran out:
        what is refused costs nobody a study. The upload must have been read: what comes after it
        is the end of the connection.
        """
        watch = asyncio.create_task(self._watch())
        try:
            done = await anyio.to_thread.run_sync(work, limiter=self._workers)
            self.share.ran()
            return done
        except (StudyCancelled, StudyTimedOut):
            self.share.ran()
            raise
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass
        self.cancel.request(StudyCancelled("the client left", remedy="Send the study again"))
