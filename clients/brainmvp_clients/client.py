"""The client for scripts and notebooks: one study in, its result out."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx

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


class Client:
    """Talks to one server; use it in a ``with`` block, or close it.

    ``verify`` holds the authorities to trust, or our certificate (an ``ssl.SSLContext``).
    ``transport`` replaces the network, for tests and for proxies of your own. Every method raises
    :class:`~brainmvp_clients.errors.ClientError` and its children, and nothing else of the network.
    ``resample`` brings NIfTI volumes on other grids onto the first one's; ``form`` says what
    places them where their headers disagree, ``sform`` or ``qform``. ``prepare`` is ``auto``, which
    prepares raw heads, or ``none``; ``space`` the modality whose grid their result lies on;
    ``brain`` a NIfTI mask of the brain on one series' grid, taken instead of one looked for;
    ``not_determinable`` asks for what was found of outputs that the modalities cannot decide;
    ``profile`` is ``reference``, or ``speed`` for fewer windows where the bundle has a proof.

    Example::

        with Client("http://127.0.0.1:8000") as client:
            summary = client.results("brats-ped", {"t1": "t1.nii.gz"}, into="results/patient-1")
    """

    def __init__(
        self,
        server: str = wire.DEFAULT_SERVER,
        *,
        timeout: wire.Timeout = wire.DEFAULT_TIMEOUT,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        url = wire.address(server)
        self.server = wire.display_address(url)
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout,
            headers=wire.request_headers(headers),
            verify=verify,
            transport=transport,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ready(self) -> bool:
        """Whether the server answers and takes studies now."""
        try:
            with wire.transport_errors(self.server):
                return self._http.get(wire.READY.path).status_code == httpx.codes.OK
        except ServerUnreachable:
            return False

    def models(self) -> tuple[Model, ...]:
        """What the server serves."""
        return parse(Catalogue, self._text(wire.MODELS), subject=self.server).models

    def model(self, name: str, version: str | None = None) -> Model:
        """One served model; by default its latest version."""
        call = wire.model_call(name, version)
        return parse(Model, self._text(call), subject=self.server)

    def identify(
        self,
        study: ModalityFiles,
        *,
        dicom: DicomOptions = AS_SERVED,
        on_upload: OnUpload | None = None,
    ) -> Findings:
        """Which of a study's images is which modality, and why; no model is run."""
        call = wire.identify_call(dicom)
        with open_upload(study, on_upload) as upload:
            return parse(Findings, self._text(call, upload), subject=self.server)

    def predict(
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
            return parse(Summary, self._text(call, upload), subject=self.server)

    def mask(
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
            with (
                open_upload(study, on_upload, brain) as upload,
                self._answer(call, upload) as answer,
            ):
                for chunk in answer.iter_bytes(wire.CHUNK):
                    append(file, chunk, target=target, server=self.server)
            check_gzip(file, server=self.server)
        return target

    def results(
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
        return self._saved(call, opened, into, unpack, overwrite=overwrite)

    def compare(
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
                return parse(Comparison, self._text(call, upload), subject=self.server)
        call = wire.compare_call(model, version, accept=wire.ZIP, dicom=dicom)
        opened = open_times(times, on_upload)
        return self._saved(call, opened, into, unpack_comparison, overwrite=overwrite)

    def submit(
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
            return parse(Job, self._text(call, upload), subject=self.server)

    def jobs(self) -> tuple[Job, ...]:
        """Your jobs, the newest first."""
        return parse(JobList, self._text(wire.JOBS), subject=self.server).jobs

    def job(self, job: str) -> Job:
        """How one job is."""
        return parse(Job, self._text(wire.job_call(job)), subject=self.server)

    def watch(self, job: str) -> Iterator[Job]:
        """How a job is, at each change, until it is over; the last one is final.

        A connection that breaks is made anew, for about a minute.
        """
        call, failed = wire.job_events(job), 0
        while True:
            try:
                with self._answer(call) as answer:
                    for line in answer.iter_lines():
                        if (text := wire.event_data(line)) is not None:
                            yield (now := parse(Job, text, subject=self.server))
                            if now.over:
                                return
                            failed = 0
            except ServerUnreachable:
                failed += 1
                if failed == wire.WATCH_TRIES:
                    raise
            time.sleep(wire.WATCH_PAUSE_S)

    def job_results(self, job: str, into: StudyPath, *, overwrite: bool = False) -> Summary:
        """Write a finished job's files into the folder ``into``, as :meth:`results` does."""
        call = wire.job_call(job, results=True)
        return self._saved(call, nullcontext(), into, unpack, overwrite=overwrite)

    def end_job(self, job: str) -> None:
        """Cancel a job that is not over; forget one that is, with its results."""
        self._text(wire.job_end(job))

    def _saved(
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
            with opened as upload, self._answer(call, upload) as answer:
                for chunk in answer.iter_bytes(wire.CHUNK):
                    append(archive, chunk, target=folder, server=self.server)
            return unpack(archive, folder, server=self.server)

    def _text(self, call: Call, upload: Upload | None = None) -> bytes:
        with self._answer(call, upload) as answer:
            return self._read(answer)

    @contextmanager
    def _answer(self, call: Call, upload: Upload | None = None) -> Iterator[httpx.Response]:
        """A good answer of the kind asked for, its body still to be read."""
        with ExitStack() as stack:
            stack.enter_context(wire.transport_errors(self.server))
            request = self._http.build_request(
                call.method,
                call.path,
                params=dict(call.params),
                headers={**call.headers, **(upload.headers if upload else {})},
                content=upload,
            )
            answer = self._http.send(request, stream=True)
            stack.callback(answer.close)
            if not answer.is_success:
                raise wire.refusal(answer, self._read(answer), self.server)
            wire.check_kind(answer, call, self.server)
            yield answer

    def _read(self, answer: httpx.Response) -> bytes:
        pieces: list[bytes] = []
        for piece in answer.iter_bytes(wire.CHUNK):
            wire.add_piece(pieces, piece, self.server)
        return b"".join(pieces)
