"""Opens what a process needs of the jobs, by its role."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from brainmvp_models.errors import InvalidSettings
from brainmvp_server.jobs import database
from brainmvp_server.jobs.files import JobFiles
from brainmvp_server.jobs.runner import JobRunner
from brainmvp_server.jobs.store import JobStore
from brainmvp_server.jobs.usage import DatabaseLedger
from brainmvp_server.runtime.service import Service
from brainmvp_server.settings import JobSettings


@dataclass(frozen=True)
class JobBackend:
    """The store, a runner where this process works on jobs, and the count of quotas."""

    store: JobStore
    runner: JobRunner | None
    usage: DatabaseLedger

    def start(self) -> None:
        """Begin to work, where this process does."""
        if self.runner is not None:
            self.runner.start()

    @property
    def busy(self) -> bool:
        """Whether a job is being worked on here."""
        return self.runner is not None and self.runner.busy

    def close(self, grace_s: float) -> None:
        """Take nothing more; wait so long for what runs."""
        if self.runner is not None:
            self.runner.close(grace_s)
        self.store.close()
        self.usage.close()


def open_backend(service: Service) -> JobBackend:
    """What the settings ask for.

    Raises:
        InvalidSettings: storage or database cannot be used.
        JobsUnavailable: the database is damaged or does not answer.
    """
    settings = service.settings.jobs
    assert settings.jobs_storage is not None
    url, storage = _database(settings), JobFiles(settings.jobs_storage)
    database.prepare(url)
    keep = timedelta(hours=settings.jobs_keep_h)
    runner = None
    if settings.role != "api":
        name = settings.executor or socket.gethostname()
        runner = JobRunner(
            service, url, storage, executor=name, keep=keep, lease_s=settings.jobs_lease_s
        )
    return JobBackend(JobStore(database.connect(url), storage, keep), runner, DatabaseLedger(url))


def _database(settings: JobSettings) -> str:
    if settings.jobs_database is not None:
        return settings.jobs_database.get_secret_value()
    assert settings.jobs_storage is not None
    if "://" in settings.jobs_storage:
        raise InvalidSettings(
            "a bucket cannot hold the database",
            remedy="Give jobs_database a postgresql:// URL",
            subject="jobs_storage",
        )
    return database.sqlite_url(Path(settings.jobs_storage).resolve() / "jobs.sqlite")
