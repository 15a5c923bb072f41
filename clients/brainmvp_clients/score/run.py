"""Carry studies from a source through the server to every sink, each exactly once in effect."""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from brainmvp_clients.answers import Summary
from brainmvp_clients.dicom import as_option
from brainmvp_clients.errors import (
    ClientError,
    LocalFileError,
    OutputExists,
    Refused,
    ServerFault,
    one_line,
    sentence,
)
from brainmvp_clients.result_files import writing
from brainmvp_clients.score.ledger import Ledger, StudyState
from brainmvp_clients.score.output_folder import WORK
from brainmvp_clients.score.private_files import make_private
from brainmvp_clients.score.protocols import Sink, Source
from brainmvp_clients.score.rate_limit import QuotaPause, RateLimit
from brainmvp_clients.score.retry import Backoff, is_retryable, quota_wait
from brainmvp_clients.score.row import Row
from brainmvp_clients.score.study_files import Study, StudyFiles, UnusableStudy
from brainmvp_clients.score.table import Table

log = logging.getLogger(__name__)

_INVALID_QUERY = "urn:brainmvp:problem:invalid-query"

Predict = Callable[[StudyFiles, Path], Summary]
"""Sends a study's files and writes its result into a new folder."""

OnStudy = Callable[[Study, StudyState], None]
"""Called when a study has ended, or is seen to have ended in an earlier run."""


@dataclass(frozen=True)
class RunPolicy:
    """How fast: studies at once, studies a minute, and what is tried again."""

    concurrency: int = 2
    rate: float | None = None
    backoff: Backoff = field(default_factory=Backoff)
    retry_refused: bool = False


@dataclass
class RunReport:
    """How a run ended.

    ``skipped`` studies were done by an earlier run; of those done now, ``not_determinable`` have an
    output that their modalities cannot decide.
    """

    model: str
    version: str
    done: int = 0
    skipped: int = 0
    refused: int = 0
    failed: int = 0
    not_determinable: int = 0
    stopped: bool = False
    seconds: float = 0.0

    def clean(self, *, allow_refused: bool = False) -> bool:
        """Whether no study is left without a result, or, where that is allowed, a refusal."""
        return not ((self.refused and not allow_refused) or self.failed or self.stopped)


@dataclass
class BatchRunner:
    """One run. ``stop`` ends it early: studies at work are finished, no other is begun."""

    model: str
    version: str
    source: Source
    sinks: tuple[Sink, ...]
    ledger: Ledger
    table: Table
    folder: Path
    predict: Predict
    policy: RunPolicy = field(default_factory=RunPolicy)
    on_study: OnStudy | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _pause: QuotaPause = field(default_factory=QuotaPause)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: set[str] = field(default_factory=set)

    def run(self, studies: Iterable[Study]) -> RunReport:
        """Score the studies that are not done yet, in their order.

        ``studies`` may go on for ever; no more than ``concurrency`` of them are held at a time.

        Raises:
            ClientError: the source cannot be read, the ledger cannot be written, or the server
                refuses what is asked about every study.
        """
        start = time.monotonic()
        report = RunReport(self.model, self.version)
        rate = RateLimit(self.policy.rate)
        free = threading.Semaphore(self.policy.concurrency)
        faults: list[BaseException] = []

        def ended(future: Future[None]) -> None:
            free.release()
            if (fault := future.exception()) is not None:
                faults.append(fault)
                self.stop.set()

        clear_work(self.folder)
        with ThreadPoolExecutor(self.policy.concurrency, "score") as pool:
            for study in studies:
                if self._skip(study, report):
                    continue
                free.acquire()
                rate.wait(self.stop)
                if self.stop.is_set():
                    report.stopped = True
                    break
                pool.submit(self._work, study, report).add_done_callback(ended)
        if faults:
            raise faults[0]
        report.seconds = time.monotonic() - start
        return report

    def _skip(self, study: Study, report: RunReport) -> bool:
        """Whether the study needs no work, or is at work already."""
        token = self.ledger.token(study.key)
        entry = self.ledger.entry(token)
        if entry is not None and not self.table.has(token):
            entry = None  # the table was damaged or lost: what is in no line is done again
        with self._lock:
            if token in self._running:
                return True
            if entry is not None and entry.state is StudyState.DONE:
                report.skipped += 1
                self._notify(study, StudyState.DONE)
                return True
            if (
                entry is not None
                and entry.state is StudyState.REFUSED
                and not self.policy.retry_refused
            ):
                report.refused += 1
                self._notify(study, StudyState.REFUSED)
                return True
            self._running.add(token)
        return False

    def _work(self, study: Study, report: RunReport) -> None:
        token = self.ledger.token(study.key)
        start = time.monotonic()
        try:
            state = self._attempts(study, token, start, report)
        finally:
            with self._lock:
                self._running.discard(token)
        with self._lock:
            report.done += state is StudyState.DONE
            report.refused += state is StudyState.REFUSED
            report.failed += state in (StudyState.FAILED, StudyState.WORKING)
            self._notify(study, state)

    def _attempts(self, study: Study, token: str, start: float, report: RunReport) -> StudyState:
        """Try until it is done, cannot succeed, or the attempts are used up."""
        for attempt in range(1, self.policy.backoff.attempts + 1):
            self.ledger.write(token, StudyState.WORKING, attempts=attempt)
            try:
                summary = self._once(study)
            except ClientError as error:
                if refuses_every_study(error):
                    raise
                again = is_retryable(error)
                log.warning("study %s, attempt %d: %s", token, attempt, reason_of(error))
                if again and attempt < self.policy.backoff.attempts and not self.stop.is_set():
                    self.stop.wait(self.policy.backoff.wait(attempt, error))
                    continue
                faulty = isinstance(error, ServerFault)  # it is not the study that was refused
                state = StudyState.FAILED if again or faulty else StudyState.REFUSED
                return self._end(study, token, state, attempt, reason_of(error))
            except Exception as error:
                reason = f"internal error ({type(error).__name__})"
                log.error("study %s, attempt %d: %s", token, attempt, reason)
                return self._end(study, token, StudyState.FAILED, attempt, reason)
            # The line first, the ledger last: a kill in between repeats the study, and its line
            # and its results replace the earlier ones.
            self.table.add(Row.of(study.name, token, summary, time.monotonic() - start))
            self.ledger.write(token, StudyState.DONE, attempts=attempt)
            log.info("study %s: done", token)
            with self._lock:
                report.not_determinable += bool(summary.not_determinable)
            return StudyState.DONE
        return StudyState.FAILED

    def _once(self, study: Study) -> Summary:
        work = self.folder / WORK
        with writing(work):
            folder = tempfile.TemporaryDirectory(dir=work)
        with folder as scratch:
            images, result = Path(scratch, "images"), Path(scratch, "result")
            with writing(images):
                images.mkdir()
            study_files = self.source.fetch(study, images)
            summary = self._predicted(study_files, result)
            for sink in self.sinks:
                if not (sink.dicom and summary.missing):
                    sink.deliver(study, result)
            if any(sink.dicom for sink in self.sinks):
                _check_objects(summary)
        return summary

    def _predicted(self, study_files: StudyFiles, result: Path) -> Summary:
        """The result, once the server's quota has room: a wait for that is no attempt."""
        while True:
            self._pause.wait(self.stop)
            try:
                return self.predict(study_files, result)
            except ServerFault as error:
                wait = quota_wait(error)
                if wait is None or self.stop.is_set():
                    raise
                log.warning("the server's quota is used up; on in %.0f s", wait)
                self._pause.begin(wait + random.uniform(0, min(wait, 1.0)))

    def _end(
        self, study: Study, token: str, state: StudyState, attempts: int, reason: str
    ) -> StudyState:
        row = Row(
            study=study.name,
            token=token,
            state=state,
            model=self.model,
            version=self.version,
            reason=reason,
        )
        self.table.add(row)
        self.ledger.write(token, state, attempts=attempts, reason=reason)
        return state

    def _notify(self, study: Study, state: StudyState) -> None:
        if self.on_study is not None:
            self.on_study(study, state)


def reason_of(error: ClientError) -> str:
    """The error without the file or study that it is about, whose name can be a patient's."""
    if isinstance(error, OutputExists):
        return "Something else lies where the result should go."
    if isinstance(error, LocalFileError):
        return f"A file {one_line(error.problem)}."
    part = error.part if isinstance(error, Refused) else None
    return as_option(sentence(part or "", error.problem, error.remedy))


def _check_objects(summary: Summary) -> None:
    """Refuse to call a study done whose objects did not all go to the PACS.

    Raises:
        UnusableStudy: some were not written; the first of them says why.
    """
    if summary.missing:
        names = ", ".join(one.name for one in summary.missing[:3])
        first = summary.missing[0]
        raise UnusableStudy(
            f"nothing was sent to the PACS, for the result lacks {names}: {first.problem}",
            remedy=first.remedy,
        )


def refuses_every_study(error: ClientError) -> bool:
    """Whether the server refuses what is asked about every study alike."""
    return isinstance(error, Refused) and error.details.type == _INVALID_QUERY


def clear_work(folder: Path) -> None:
    """Remove what a killed run left behind: ``WORK`` is emptied at every start."""
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    make_private(work)
    for path in folder.rglob(".brainmvp-*"):
        if path.suffix in (".partial", ".old"):
            shutil.rmtree(path, ignore_errors=True)
