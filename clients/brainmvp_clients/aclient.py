"""The client for event loops: :class:`~brainmvp_clients.client.Client` with ``await``."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx
from anyio import sleep, to_thread

from brainmvp_clients import wire
from brainmvp_clients.answers import Findings, Job, JobList, Summary, parse
from brainmvp_clients.archive import Unpack, unpack, unpack_comparison
from brainmvp_clients.comparisons import Comparison
from brainmvp_clients.dicom import AS_SERVED, DicomOptions
from brainmvp_clients.errors import ServerUnreachable
from brainmvp_clients.result_files import append, check_gzip, scratch, staged_file, staged_folder
from brainmvp_clients.served_models import Catalogue, Model
from brainmvp_clients.upload import (
    ModalityFiles,
    OnUpload,
    StudyPath,
    Times,
    Upload,
    open_times,
    open_upload,
)
from brainmvp_clients.wire import Call

T = TypeVar("T")


class AsyncClient:
    """Talks to one server from an event loop, asyncio's or trio's; use it in ``async with``.

    The same verbs, arguments and errors as :class:`~brainmvp_clients.client.Client`. Files are read
    and written in worker threads.
    """

    def __init__(
        self,
        server: str = wire.DEFAULT_SERVER,
        *,
        timeout: wire.Timeout = wire.DEFAULT_TIMEOUT,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = wire.address(server)
        self.server = wire.display_address(url)
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=timeout,
            headers=wire.request_headers(headers),
            verify=verify,
            transport=transport,
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ready(self) -> bool:
        """Whether the server answers and takes studies now."""
        try:
            with wire.transport_errors(self.server):
                answer = await self._http.get(wire.READY.path)
                return answer.status_code == httpx.codes.OK
        except ServerUnreachable:
            return False

    async def models(self) -> tuple[Model, ...]:
        """What the server serves."""
        return parse(Catalogue, await self._text(wire.MODELS), subject=self.server).models

    async def model(self, name: str, version: str | None = None) -> Model:
        """One served model; by default its latest version."""
        call = wire.model_call(name, version)
        return parse(Model, await self._text(call), subject=self.server)

    async def identify(
        self,
        study: ModalityFiles,
        *,
        dicom: DicomOptions = AS_SERVED,
        on_upload: OnUpload | None = None,
    ) -> Findings:
        """Which of a study's images is which modality, and why; no model is run."""
        call = wire.identify_call(dicom)
        with open_upload(study, on_upload) as upload:
            return parse(Findings, await self._text(call, upload), subject=self.server)

    async def predict(
        self,
        model: str,
        study: ModalityFiles,
        *,
        version: str | None = None,
        fill: str | None = None,
        resample: bool = False,
        form: str | None = None,
        prepare: str | None = None,
        space: str | None = None,
        not_determinable: bool = False,
        profile: str | None = None,
        brain: StudyPath | None = None,
        on_upload: OnUpload | None = None,
    ) -> Summary:
        """The summary of one study's result: volumes or scores, what was real, what was filled."""
        call = wire.predict_call(
            model,
            version,
            fill,
            resample=resample,
            form=form,
            prepare=prepare,
            space=space,
            not_determinable=not_determinable,
            profile=profile,
        )
        with open_upload(study, on_upload, brain) as upload:
            return parse(Summary, await self._text(call, upload), subject=self.server)

    async def mask(
        self,
        model: str,
        study: ModalityFiles,
        to: StudyPath,
        *,
        version: str | None = None,
        fill: str | None = None,
        resample: bool = False,
        form: str | None = None,
        prepare: str | None = None,
        space: str | None = None,
        not_determinable: bool = False,
        profile: str | None = None,
        brain: StudyPath | None = None,
        overwrite: bool = False,
        on_upload: OnUpload | None = None,
    ) -> Path:
        """Write the mask to ``to``, a ``.nii.gz`` on the study's own grid."""
        call = wire.predict_call(
            model,
            version,
            fill,
            accept=wire.GZIP,
            resample=resample,
            form=form,
            prepare=prepare,
            space=space,
            not_determinable=not_determinable,
            profile=profile,
        )
        target = Path(to)
        with staged_file(target, overwrite=overwrite) as file:
            save = partial(append, file, target=target, server=self.server)
            with open_upload(study, on_upload, brain) as upload:
                async with self._answer(call, upload) as answer:
                    async for chunk in answer.aiter_bytes(wire.CHUNK):
                        await to_thread.run_sync(save, chunk)
            await to_thread.run_sync(partial(check_gzip, file, server=self.server))
        return target

    async def results(
        self,
        model: str,
        study: ModalityFiles,
        into: StudyPath,
        *,
        probabilities: bool = False,
        version: str | None = None,
        fill: str | None = None,
        resample: bool = False,
        form: str | None = None,
        prepare: str | None = None,
        space: str | None = None,
        not_determinable: bool = False,
        profile: str | None = None,
        brain: StudyPath | None = None,
        dicom: DicomOptions = AS_SERVED,
        overwrite: bool = False,
        on_upload: OnUpload | None = None,
    ) -> Summary:
        """Write mask, summary, preview and, if wanted, probabilities into the folder ``into``.

        The folder appears when all of it is there. One that holds anything is refused, unless
        ``overwrite`` is set and it holds nothing but earlier results.
        """
        call = wire.predict_call(
            model,
            version,
            fill,
            accept=wire.ZIP,
            probabilities=probabilities,
            resample=resample,
            form=form,
            prepare=prepare,
            space=space,
            not_determinable=not_determinable,
            profile=profile,
            dicom=dicom,
        )
        opened = open_upload(study, on_upload, brain)
        return await self._saved(call, opened, into, unpack, overwrite=overwrite)

    async def compare(
        self,
        times: Times,
        *,
        model: str | None = None,
        version: str | None = None,
        into: StudyPath | None = None,
        dicom: DicomOptions = AS_SERVED,
        overwrite: bool = False,
        on_upload: OnUpload | None = None,
    ) -> Comparison:
        """What changed between two studies of a patient, lesion by lesion.

        ``model`` draws the masks of studies that come without. ``into`` is a folder for summary,
        picture and report; it is written as that of :meth:`results` is.
        """
        if into is None:
            call = wire.compare_call(model, version, dicom=dicom)
            with open_times(times, on_upload) as upload:
                return parse(Comparison, await self._text(call, upload), subject=self.server)
        call = wire.compare_call(model, version, accept=wire.ZIP, dicom=dicom)
        opened = open_times(times, on_upload)
        return await self._saved(call, opened, into, unpack_comparison, overwrite=overwrite)

    async def submit(
        self,
        model: str,
        study: ModalityFiles,
        *,
        probabilities: bool = False,
        interactive: bool = False,
        key: str | None = None,
        version: str | None = None,
        fill: str | None = None,
        resample: bool = False,
        form: str | None = None,
        prepare: str | None = None,
        space: str | None = None,
        not_determinable: bool = False,
        profile: str | None = None,
        brain: StudyPath | None = None,
        dicom: DicomOptions = AS_SERVED,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """Post one study as a job; the same ``key`` gives the same job again.

        ``interactive`` jobs come before others. The answer comes when the study is accepted.
        """
        call = wire.job_post(
            model,
            version,
            fill,
            probabilities=probabilities,
            resample=resample,
            form=form,
            prepare=prepare,
            space=space,
            not_determinable=not_determinable,
            profile=profile,
            interactive=interactive,
            key=key,
            dicom=dicom,
        )
        with open_upload(study, on_upload, brain) as upload:
            return parse(Job, await self._text(call, upload), subject=self.server)

    async def jobs(self) -> tuple[Job, ...]:
        """Your jobs, the newest first."""
        return parse(JobList, await self._text(wire.JOBS), subject=self.server).jobs

    async def job(self, job: str) -> Job:
        """How one job is."""
        return parse(Job, await self._text(wire.job_call(job)), subject=self.server)

    async def watch(self, job: str) -> AsyncIterator[Job]:
        """How a job is, at each change, until it is over; the last one is final.

        A connection that breaks is made anew, for about a minute.
        """
        call, failed = wire.job_events(job), 0
        while True:
            try:
                async with self._answer(call) as answer:
                    async for line in answer.aiter_lines():
                        if (text := wire.event_data(line)) is not None:
                            yield (now := parse(Job, text, subject=self.server))
                            if now.over:
                                return
                            failed = 0
            except ServerUnreachable:
                failed += 1
                if failed == wire.WATCH_TRIES:
                    raise
            await sleep(wire.WATCH_PAUSE_S)

    async def job_results(self, job: str, into: StudyPath, *, overwrite: bool = False) -> Summary:
        """Write a finished job's files into the folder ``into``, as :meth:`results` does."""
        call = wire.job_call(job, results=True)
        return await self._saved(call, nullcontext(), into, unpack, overwrite=overwrite)

    async def end_job(self, job: str) -> None:
        """Cancel a job that is not over; forget one that is, with its results."""
        await self._text(wire.job_end(job))

    async def _saved(
        self,
        call: Call,
        opened: AbstractContextManager[Upload | None],
        into: StudyPath,
        unpack: Unpack[T],
        *,
        overwrite: bool,
    ) -> T:
        """Write the zip that is answered into a folder, which appears when all of it is there."""
        with (
            staged_folder(Path(into), overwrite=overwrite) as folder,
            scratch(folder) as archive,
        ):
            save = partial(append, archive, target=folder, server=self.server)
            with opened as upload:
                async with self._answer(call, upload) as answer:
                    async for chunk in answer.aiter_bytes(wire.CHUNK):
                        await to_thread.run_sync(save, chunk)
            return await to_thread.run_sync(partial(unpack, archive, folder, server=self.server))

    async def _text(self, call: Call, upload: Upload | None = None) -> bytes:
        async with self._answer(call, upload) as answer:
            return await self._read(answer)

    @asynccontextmanager
    async def _answer(
        self, call: Call, upload: Upload | None = None
    ) -> AsyncIterator[httpx.Response]:
        """A good answer of the kind asked for, its body still to be read."""
        async with AsyncExitStack() as stack:
            stack.enter_context(wire.transport_errors(self.server))
            request = self._http.build_request(
                call.method,
                call.path,
                params=dict(call.params),
                headers={**call.headers, **(upload.headers if upload else {})},
                content=upload.chunks() if upload else None,
            )
            answer = await self._http.send(request, stream=True)
            stack.push_async_callback(answer.aclose)
            if not answer.is_success:
                raise wire.refusal(answer, await self._read(answer), self.server)
            wire.check_kind(answer, call, self.server)
            yield answer

    async def _read(self, answer: httpx.Response) -> bytes:
        pieces: list[bytes] = []
        async for piece in answer.aiter_bytes(wire.CHUNK):
            wire.add_piece(pieces, piece, self.server)
        return b"".join(pieces)
