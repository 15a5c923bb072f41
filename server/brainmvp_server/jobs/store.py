"""The jobs as those who ask for them see them: post, look, list, cancel, forget."""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timedelta, timezone

from dbos import DBOSClient, EnqueueOptions, WorkflowStatus

from brainmvp_models.errors import DuplicateJob, UnknownJob
from brainmvp_models.modality import printable
from brainmvp_server.jobs import database
from brainmvp_server.jobs.files import JobFiles
from brainmvp_server.jobs.job import (
    UNFORESEEN,
    Job,
    JobProgress,
    JobRequest,
    JobSpec,
    KeptStudy,
    Outcome,
    Priority,
    State,
    job_digest,
)

_KEYS = uuid.UUID("3c1f6d0e-6c53-4b52-9f5e-2f1f5f0f5b61")
_TURN = {Priority.INTERACTIVE: 1, Priority.BATCH: 10}


class JobStore:
    """Posts jobs and tells how they are. Needs the database and the storage, and no worker.

    An owner sees no other owner's jobs.
    """

    def __init__(self, client: DBOSClient, storage: JobFiles, keep: timedelta) -> None:
        self._client = client
        self._keep = keep
        self.storage = storage

    def post(
        self, owner: str, asked: JobRequest, study: KeptStudy, key: str | None = None
    ) -> tuple[Job, bool]:
        """Accept a job: its study is kept, then its order. The job, and whether it is a new one.

        Args:
            key: the same key with the same study and wishes gives the same job again.

        Raises:
            DuplicateJob: the key was used for something else.
            JobsUnavailable: the database does not answer.
        """
        name = uuid.uuid4() if key is None else uuid.uuid5(_KEYS, f"{owner}\0{key}")
        spec = JobSpec(
            id=name.hex,
            owner=owner,
            asked=asked,
            digest=job_digest(asked, study),
            modalities=tuple(study.files),
            brain=study.brain is not None,
        )
        earlier = self._find(owner, spec.id)
        new = earlier is None
        if new:
            self.storage.put_study(spec, study)
            with database.translated():
                self._client.enqueue(_options(spec), spec.model_dump(mode="json"))
            earlier = self._find(owner, spec.id)
        if earlier is None or _spec(earlier).digest != spec.digest:
            self.storage.drop_study(spec)
            raise DuplicateJob(
                "the Idempotency-Key was used for another study or other wishes",
                remedy="Use a new key for each job",
            )
        return self._view(earlier), new

    def job(self, owner: str, job: str) -> Job:
        """One job.

        Raises:
            UnknownJob: there is none of that id, or it is somebody else's.
        """
        return self._view(self._known(owner, job))

    def jobs(self, owner: str, limit: int = 100) -> tuple[Job, ...]:
        """An owner's jobs, the newest first."""
        with database.translated():
            found = self._client.list_workflows(
                name=database.WORKFLOW,
                user=owner,
                limit=limit,
                sort_desc=True,
            )
        return tuple(map(self._view, found))

    def waiting(self) -> int:
        """Jobs that no worker has begun."""
        return self._count("ENQUEUED")

    def running(self) -> int:
        """Jobs that a worker has begun."""
        return self._count("PENDING")

    def oldest_s(self) -> float:
        """Seconds that the job has waited that waits longest; 0 where none waits."""
        with database.translated():
            since = database.waiting_since(self._client)
        return 0.0 if since is None else max(0.0, time.time() - since)

    def _count(self, status: str) -> int:
        with database.translated():
            return database.count_queued(self._client, status)

    def cancel(self, owner: str, job: str) -> Job:
        """Cancel a job that is not over; its worker stops at the next window.

        Raises:
            UnknownJob: there is none of that id.
        """
        found = self._known(owner, job)
        if not self._view(found).state.final:
            with database.translated():
                self._client.cancel_workflow(job)
            if found.status == "ENQUEUED":
                self.storage.drop(job)
        return self.job(owner, job)

    def forget(self, owner: str, job: str) -> None:
        """Remove a job that is over, with its results.

        Raises:
            UnknownJob: there is none of that id.
        """
        self._known(owner, job)
        self.storage.drop(job)
        with database.translated():
            self._client.delete_workflow(job)

    def close(self) -> None:
        """Close the connections."""
        self._client.destroy()

    def _known(self, owner: str, job: str) -> WorkflowStatus:
        found = self._find(owner, job)
        if found is None:
            raise UnknownJob(
                f"there is no job '{printable(job)}'",
                remedy="It may have expired; GET /v1/jobs lists those there are",
            )
        return found

    def _find(self, owner: str, job: str) -> WorkflowStatus | None:
        with database.translated():
            found = self._client.list_workflows(
                workflow_ids=[job], user=owner, name=database.WORKFLOW
            )
        return found[0] if found else None

    def _view(self, status: WorkflowStatus) -> Job:
        spec, outcome = _spec(status), _outcome(status)
        finished = _time(status.completed_at)
        attributes = status.attributes or {}
        begun = outcome.state is not State.QUEUED and "stage" in attributes
        return Job(
            id=spec.id,
            model=spec.asked.model,
            version=spec.asked.version,
            priority=spec.asked.priority,
            state=outcome.state,
            progress=JobProgress.model_validate(attributes) if begun else None,
            created=_time(status.created_at) or datetime.now(timezone.utc),
            finished=finished,
            expires=finished + self._keep if finished else None,
            results=outcome.files,
            error=outcome.error,
        )


def _options(spec: JobSpec) -> EnqueueOptions:
    return EnqueueOptions(
        workflow_name=database.WORKFLOW,
        queue_name=database.QUEUE,
        workflow_id=spec.id,
        app_version=database.VERSION,
        authenticated_user=spec.owner,
        priority=_TURN[spec.asked.priority],
    )


def _spec(status: WorkflowStatus) -> JobSpec:
    assert status.input is not None
    return JobSpec.model_validate(status.input["args"][0])


def _outcome(status: WorkflowStatus) -> Outcome:
    """How a job is, from its row."""
    if status.status in ("ENQUEUED", "DELAYED"):
        return Outcome(state=State.QUEUED)
    if status.status == "PENDING":
        return Outcome(state=State.RUNNING)
    if status.status == "CANCELLED":
        return Outcome(state=State.CANCELLED)
    if status.status == "SUCCESS":
        return Outcome.model_validate(status.output)
    return Outcome(state=State.FAILED, error=UNFORESEEN)


def _time(milliseconds: int | None) -> datetime | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
