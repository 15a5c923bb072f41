"""One worker's attempt at one job: it shows how far it is and that it lives, and may lose it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dbos import DBOSClient, WorkflowStatus

from brainmvp_models.errors import StudyCancelled, StudyStopped
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.jobs import database
from brainmvp_server.jobs.job import JobProgress
from brainmvp_server.jobs.leases import BegunJob

log = logging.getLogger(__name__)

_LOOK_S = 1.0
_FIRST_LOOK_S = 0.05
_BEATS = 4
"""Signs of life in the time of one lease."""


class JobGivenAway(StudyStopped):
    """Another worker has the job now; what this one would write down is refused."""

    code = "job-given-away"
    title = "The job was given to another worker"


class Attempt:
    """From the queue to the end, or to the loss of the job.

    Args:
        executor: the worker whose attempt it is.
        lease_s: how long the worker may show no sign of life.
    """

    def __init__(self, client: DBOSClient, job: str, *, executor: str, lease_s: float) -> None:
        self._client = client
        self._job = job
        self._executor = executor
        self._beat_s = lease_s / _BEATS
        self._held: BegunJob | None = None
        self._progress: JobProgress | None = None
        self._inferring_since = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Note the progress, as a predictor tells it."""
        windows = {"windows_done": 0, "windows": 0}
        left = None
        if stage == "infer" and done == 0:
            self._inferring_since = time.monotonic()
        elif stage == "infer" and total > 1:
            left = round((time.monotonic() - self._inferring_since) / done * (total - done), 1)
            windows = {"windows_done": done, "windows": total}
        elif self._progress is not None:
            windows = {
                "windows_done": self._progress.windows_done,
                "windows": self._progress.windows,
            }
        self._progress = JobProgress(stage=stage, seconds_left=left, **windows)

    @contextmanager
    def watched(self, cancel: CancelToken) -> Iterator[None]:
        """Tell the database how far the job is for the time of the block, and tell ``cancel`` when
        the job is cancelled or given away there."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(cancel, over), daemon=True)
        thread.name = "progress"
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def check(self) -> None:
        """Return if the job is still this worker's, or if the database cannot say.

        Raises:
            JobGivenAway, StudyCancelled: it is not.
        """
        cancel = CancelToken()
        try:
            self._look(cancel)
        except Exception as error:  # what is written down is fenced by the database itself
            log.warning("the database does not answer (%s)", type(error).__name__)
        cancel.check()

    def _watch(self, cancel: CancelToken, over: threading.Event) -> None:
        beat, beaten, told, last = 0, 0.0, None, False
        while not last:
            last = over.wait(min(_LOOK_S, self._beat_s) if told else _FIRST_LOOK_S)
            try:
                self._look(cancel)
                new, now = self._progress, time.monotonic()
                if new != told or not beat or now - beaten >= self._beat_s:
                    beat, beaten, told = beat + 1, now, new
                    self._tell(new, beat)
            except Exception as error:  # the database is away: the work goes on
                log.warning("progress cannot be told (%s)", type(error).__name__)

    def _look(self, cancel: CancelToken) -> None:
        row = self._row()
        if row is None or row.status == "CANCELLED":
            cancel.request(StudyCancelled("the job was cancelled", remedy="Post it again"))
            return
        now = database.begun_job(row)
        if self._held is None:
            self._held = now
        if now.executor != self._executor or now.attempt != self._held.attempt:
            cancel.request(
                JobGivenAway("another worker has the job", remedy="Ask for the job's state again")
            )

    def _row(self) -> WorkflowStatus | None:
        rows = self._client.list_workflows(
            workflow_ids=[self._job], load_input=False, load_output=False
        )
        return rows[0] if rows else None

    def _tell(self, progress: JobProgress | None, beat: int) -> None:
        shown = progress.model_dump(mode="json") if progress else {}
        self._client.update_workflow_attributes(
            self._job, {**shown, database.BEAT: beat}, merge=True
        )
