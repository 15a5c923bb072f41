"""A worker of durable jobs: takes orders from the queue, writes down how they end."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer

from brainmvp_models.errors import (
    BrainMVPError,
    OutOfMemory,
    ServiceClosing,
    StorageFailed,
    StudyCancelled,
)
from brainmvp_server.imaging.intake import opened
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.jobs import database
from brainmvp_server.jobs.attempt import Attempt, JobGivenAway
from brainmvp_server.jobs.files import JobFiles
from brainmvp_server.jobs.job import UNFORESEEN, JobError, JobSpec, Outcome, State
from brainmvp_server.jobs.leases import Leases
from brainmvp_server.observability.logs import kind_and_place
from brainmvp_server.results.files import write_files
from brainmvp_server.results.findings import Findings
from brainmvp_server.runtime.received_study import ReceivedStudy, intake_options
from brainmvp_server.runtime.service import Service

T = TypeVar("T")

log = logging.getLogger(__name__)

_ATTEMPTS = 3
"""Tries to read or write the storage, seconds apart."""
_RECOVERIES = 25
"""Deaths of a worker that one job may be part of."""
_SWEEP_S = 60.0
_ORPHAN_S = 3600.0


class JobRunner:
    """Works on queued jobs until it is closed.

    A worker that dies leaves its jobs to the next one with its executor id, at once, and to any
    other when the lease is over. What a job's worker has written down as its end is never done
    again, and of two that believe to have a job only the one that has it now can write it down.

    Args:
        url: of the database; its tables are there.
        executor: the name of this worker; no two that run at once have the same.
        keep: how long a finished job and its results are kept.
        lease_s: how long a worker may show no sign of life before its jobs are given to others.
    """

    def __init__(
        self,
        service: Service,
        url: str,
        storage: JobFiles,
        *,
        executor: str,
        keep: timedelta,
        lease_s: float,
    ) -> None:
        self._service = service
        self._storage = storage
        self._keep = keep
        self._executor = executor
        self._lease_s = lease_s
        self._client: DBOSClient = database.connect(url)
        self._closing = threading.Event()
        self._given_back = threading.Event()
        self.given_back = 0
        """Jobs of workers that were gone for good, put into the queue again by this one."""
        self._active = 0
        self._counting = threading.Lock()
        config = DBOSConfig(
            name=database.APPLICATION,
            system_database_url=url,
            application_version=database.VERSION,
            executor_id=executor,
            serializer=DBOSPortableJSONSerializer(),
            run_migrations=False,
            log_level="WARNING",
            enable_otlp=False,
        )
        DBOS(config=config)

        @DBOS.step(name="predict")
        def predict(spec: dict[str, Any]) -> dict[str, Any]:
            with self._counted():
                return self._outcome(JobSpec.model_validate(spec)).model_dump(mode="json")

        @DBOS.workflow(name=database.WORKFLOW, max_recovery_attempts=_RECOVERIES)
        def study(spec: dict[str, Any]) -> dict[str, Any]:
            outcome = predict(spec)
            # Only now: before the outcome is written down, another worker may still need the study.
            self._tidy(JobSpec.model_validate(spec), Outcome.model_validate(outcome))
            return outcome

        DBOS.listen_queues([database.QUEUE])

    def start(self) -> None:
        """Take up what this executor left, then what is queued.

        Raises:
            JobsUnavailable: the database does not answer.
        """
        with database.translated():
            DBOS.launch()
            DBOS.register_queue(
                database.QUEUE,
                worker_concurrency=self._service.settings.worker.studies,
                polling_interval_sec=0.5,
            )
        threading.Thread(target=self._sweep, name="sweeper", daemon=True).start()
        threading.Thread(target=self._watch_others, name="leases", daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether a job is being worked on."""
        return self._active > 0

    def close(self, grace_s: float) -> None:
        """Take nothing more, and wait so long for what runs.

        What then still runs is given back to the queue: the process must end.
        """
        self._closing.set()
        wait = math.ceil(grace_s) if self.busy else 0
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=wait)
        self._give_back()
        self._client.destroy()

    def _give_back(self) -> None:
        """Leave what is begun to whoever is free; this process writes nothing about it any more."""
        self._given_back.set()
        try:
            for begun in database.begun_jobs(self._client):
                if begun.executor == self._executor:
                    database.give_back(self._client, begun)
        except Exception as error:  # the lease will end, or this worker will be back
            log.warning("begun jobs could not be given back (%s)", type(error).__name__)

    def _outcome(self, spec: JobSpec) -> Outcome:
        """Work on one order, however it ends."""
        attempt = Attempt(self._client, spec.id, executor=self._executor, lease_s=self._lease_s)
        try:
            with (
                self._service.scratch.folder() as scratch,
                self._service.study() as cancel,
                attempt.watched(cancel),
            ):
                files = self._work(spec, scratch, cancel, attempt)
            return Outcome(state=State.DONE, files=files)
        except ServiceClosing:
            self._wait_for_the_end()
            raise
        except JobGivenAway:
            raise  # the database refuses what this worker would write down
        except StudyCancelled:
            self._storage.drop(spec.id)
            return Outcome(state=State.CANCELLED)
        except BrainMVPError as error:
            return self._failed(error)
        except OSError as error:
            return self._failed(
                StorageFailed(
                    f"a file could not be read or written ({error.strerror or 'no reason'})",
                    remedy="Make room or mend the storage, then post the job again",
                )
            )
        except MemoryError as error:
            log.error("the memory is full: %s", kind_and_place(error))
            return self._failed(OutOfMemory.for_study())
        except Exception as error:  # a bug
            log.error("a job failed in an unexpected way: %s", kind_and_place(error))
            return Outcome(state=State.FAILED, error=UNFORESEEN)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self._active += 1
        try:
            yield
        finally:
            with self._counting:
                self._active -= 1

    def _work(
        self, spec: JobSpec, scratch: Path, cancel: CancelToken, attempt: Attempt
    ) -> tuple[str, ...]:
        service, asked = self._service, spec.asked
        study, out = scratch / "study", scratch / "results"
        for folder in (study, out):
            folder.mkdir()
        kept = _tried(lambda: self._storage.fetch_study(spec, study))
        options = asked.options
        with (
            service.admission.place(cancel, interactive=options.interactive),
            service.repository.acquire(asked.model, asked.version) as bundle,
        ):
            intake = intake_options(service.settings.dicom)
            sources = opened(kept.files, scratch, intake, cancel.check)
            findings = kept.findings or Findings.none()
            received = ReceivedStudy(sources, kept_findings=findings, brain=kept.brain)
            with service.predict(bundle, received, options, cancel, attempt) as done:
                attempt("write", 0, 1)
                write_files(done.result, out, asked.objects, done.findings)
        cancel.check()
        if self._given_back.is_set():
            self._wait_for_the_end()
        attempt.check()
        return _tried(lambda: self._storage.put_results(spec.id, out))

    def _tidy(self, spec: JobSpec, outcome: Outcome) -> None:
        """Remove what is not needed after a job's end is written down."""
        try:
            if outcome.state is State.DONE:
                self._storage.drop_study(spec)
            else:
                self._storage.drop(spec.id)
        except OSError as error:  # it goes when the job's time is over
            log.warning("a job's files could not be removed (%s)", type(error).__name__)

    def _failed(self, error: BrainMVPError) -> Outcome:
        detail = f"{error.subject}: {error.problem}" if error.subject else error.problem
        return Outcome(
            state=State.FAILED,
            error=JobError(code=error.code, title=error.title, detail=detail, remedy=error.remedy),
        )

    def _wait_for_the_end(self) -> None:
        """Keep an unfinished job from being written down as failed: the process is ending."""
        threading.Event().wait()

    def _watch_others(self) -> None:
        """Give the jobs of workers that are gone for good back to the queue."""
        leases = Leases(self._lease_s)
        while not self._closing.wait(leases.look_s):
            try:
                begun = database.begun_jobs(self._client)
                others = [one for one in begun if one.executor != self._executor]
                for one in leases.expired(others, time.monotonic()):
                    if database.give_back(self._client, one):
                        self.given_back += 1
                        log.warning("a job of a worker that is gone is in the queue again")
            except Exception as error:  # without a database nobody can show that it lives
                leases.forget()
                log.warning("other workers cannot be seen (%s)", type(error).__name__)

    def _sweep(self) -> None:
        while not self._closing.wait(_SWEEP_S if self._keep.total_seconds() > 60 else 0.5):
            try:
                self.sweep()
            except Exception as error:  # the next round may have a database
                log.warning("jobs could not be swept (%s)", type(error).__name__)

    def sweep(self) -> None:
        """Remove finished jobs whose time is over, and files that no job knows."""
        before = datetime.now(timezone.utc) - self._keep
        for status in self._client.list_workflows(
            name=database.WORKFLOW,
            completed_before=before.isoformat(),
            load_input=False,
            load_output=False,
        ):
            self._storage.drop(status.workflow_id)
            self._client.delete_workflow(status.workflow_id)
        known = self._client.list_workflows(
            name=database.WORKFLOW, load_input=False, load_output=False
        )
        ids = {status.workflow_id for status in known}
        for job in self._storage.left_behind(ids, _ORPHAN_S):
            self._storage.drop(job)


def _tried(work: Callable[[], T]) -> T:
    """Storage may be full or away for a moment."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return work()
        except FileNotFoundError:
            raise
        except OSError:
            if attempt == _ATTEMPTS:
                raise
            time.sleep(attempt)
    raise AssertionError("the last attempt returns or raises")
