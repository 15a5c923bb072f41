"""An attempt at a job, against a real database: signs of life, and the loss of the job."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dbos import DBOSClient, EnqueueOptions

from brainmvp_models.errors import StudyCancelled, StudyStopped
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.jobs import database
from brainmvp_server.jobs.attempt import Attempt, JobGivenAway

JOB = "0" * 32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with one job, begun by the worker ``owner``."""
    file = tmp_path / "jobs.sqlite"
    url = database.sqlite_url(file)
    database.prepare(url)
    client = database.connect(url)
    client.enqueue(
        EnqueueOptions(
            workflow_name=database.WORKFLOW,
            queue_name=database.QUEUE,
            workflow_id=JOB,
            app_version=database.VERSION,
        ),
        {},
    )
    client.destroy()
    write(file, "status = 'PENDING', executor_id = 'owner', recovery_attempts = 1")
    return file


@pytest.fixture
def client(file: Path) -> Iterator[DBOSClient]:
    client = database.connect(database.sqlite_url(file))
    yield client
    client.destroy()


def write(file: Path, change: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE workflow_status SET {change}")
    connection.close()


def attempt(client: DBOSClient) -> Attempt:
    return Attempt(client, JOB, executor="owner", lease_s=0.2)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def beat(client: DBOSClient) -> int:
    (begun,) = database.begun_jobs(client)
    return begun.beat


def test_a_worker_that_makes_no_progress_shows_that_it_lives_all_the_same(
    client: DBOSClient,
) -> None:
    cancel = CancelToken()
    with attempt(client).watched(cancel):
        until(lambda: beat(client) >= 3)
    assert cancel.reason is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("executor_id = 'other', recovery_attempts = 2", JobGivenAway),
        ("recovery_attempts = 3", JobGivenAway),
        ("status = 'CANCELLED'", StudyCancelled),
    ],
)
def test_a_study_ends_when_its_job_is_no_longer_its_workers(
    client: DBOSClient, file: Path, change: str, reason: type[StudyStopped]
) -> None:
    cancel, own = CancelToken(), attempt(client)
    with own.watched(cancel):
        until(lambda: beat(client) >= 1)
        write(file, change)
        until(lambda: cancel.reason is not None)
    assert isinstance(cancel.reason, reason)
    with pytest.raises(reason):
        own.check()


def test_a_job_that_is_given_back_twice_at_once_is_put_into_the_queue_once(
    client: DBOSClient, file: Path
) -> None:
    (begun,) = database.begun_jobs(client)
    given: list[bool] = []
    others = [database.connect(database.sqlite_url(file)) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda one=one: given.append(database.give_back(one, begun)))
        for one in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in others:
        one.destroy()
    assert sorted(given) == [False, False, False, True]
    assert database.begun_jobs(client) == ()


def test_a_job_that_another_worker_has_begun_since_is_not_given_back(
    client: DBOSClient, file: Path
) -> None:
    (begun,) = database.begun_jobs(client)
    write(file, "executor_id = 'other', recovery_attempts = 2")
    assert not database.give_back(client, begun)
