"""The jobs' database: SQLite by default, PostgreSQL by URL; its tables are DBOS Transact's."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, WorkflowStatus
from dbos import error as dbos_error
from sqlalchemy.exc import SQLAlchemyError

from brainmvp_models.errors import JobsUnavailable
from brainmvp_server.jobs.leases import BegunJob

APPLICATION = "brainmvp"
VERSION = "1"
"""Of what is written into the database. It is pinned: any release that writes the same takes over
what another one has begun."""
QUEUE = "studies"
WORKFLOW = "study"
BEAT = "beat"
"""The attribute of a job's row that its worker raises for as long as it lives."""

logging.getLogger("dbos").setLevel(logging.WARNING)  # it greets with an advertisement


def sqlite_url(file: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{file}"


def prepare(url: str) -> None:
    """Make the tables, or bring them up to date; a damaged SQLite file is left as it is.

    Raises:
        JobsUnavailable: the database is damaged, or not there.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except SQLAlchemyError:
        raise _unavailable("its URL is not one", "Write it as postgresql://…") from None
    if parsed.drivername.startswith("sqlite"):
        _check_sqlite(Path(parsed.database or ""))
    with translated():
        DBOS.migrate(url)


def connect(url: str) -> DBOSClient:
    """A connection that enqueues and asks, and runs nothing.

    Raises:
        JobsUnavailable: the database is not there.
    """
    with translated():
        return DBOSClient(
            system_database_url=url,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            retry_connection_errors=False,
        )


def begun_jobs(client: DBOSClient) -> tuple[BegunJob, ...]:
    """Every job that a worker has begun and not ended."""
    rows = client.list_workflows(
        name=WORKFLOW, status="PENDING", load_input=False, load_output=False
    )
    return tuple(map(begun_job, rows))


def begun_job(row: WorkflowStatus) -> BegunJob:
    """Who works on a job, by its row."""
    return BegunJob(
        job=row.workflow_id,
        executor=row.executor_id or "",
        attempt=row.recovery_attempts or 0,
        beat=int((row.attributes or {}).get(BEAT, 0)),
    )


def give_back(client: DBOSClient, begun: BegunJob) -> bool:
    """Put a begun job back into the queue, if that worker still has it.

    Whatever the worker writes down about it from now on is refused. DBOS has a public call for this
    only by worker, not by job; this is the one that it makes itself.
    """
    return bool(client._sys_db.reenqueue_for_recovery(begun.job, [begun.executor], QUEUE))


def count_queued(client: DBOSClient, status: str) -> int:
    """How many jobs have a status, counted where they are: DBOS itself only lists them."""
    database = client._sys_db
    rows = database.tables.workflow_status
    count = (
        sqlalchemy.select(sqlalchemy.func.count())
        .select_from(rows)
        .where(rows.c.queue_name == QUEUE, rows.c.status == status)
    )
    with database.engine.begin() as connection:
        return int(connection.execute(count).scalar_one())


def waiting_since(client: DBOSClient) -> float | None:
    """When the job was posted that waits longest, in seconds since 1970; None where none waits."""
    database = client._sys_db
    rows = database.tables.workflow_status
    first = sqlalchemy.select(sqlalchemy.func.min(rows.c.created_at)).where(
        rows.c.queue_name == QUEUE, rows.c.status == "ENQUEUED"
    )
    with database.engine.begin() as connection:
        posted_ms: int | None = connection.execute(first).scalar_one()
    return None if posted_ms is None else posted_ms / 1000


@contextmanager
def translated() -> Iterator[None]:
    """Faults of the database as our own error; what they say may hold an address or a password.

    Raises:
        JobsUnavailable: the database did not do what was asked of it.
    """
    try:
        yield
    except (SQLAlchemyError, dbos_error.DBOSException, OSError) as error:
        raise _unavailable(
            f"it does not answer ({type(error).__name__})", "Look at it, then try again"
        ) from error


def _check_sqlite(file: Path) -> None:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # its journal gets the same
        return
    with suppress(PermissionError):
        file.chmod(0o600)
    try:
        # Read and write: a journal that a killed process left is rolled back, nothing else.
        with sqlite3.connect(f"file:{file}?mode=rw", uri=True) as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        connection.close()
    except sqlite3.Error as error:
        answer = str(error)
    if answer != "ok":
        raise _unavailable(
            f"{file} is damaged: {answer.splitlines()[0][:80]}",
            "Put a copy in its place, or move it away to begin anew; it was not changed",
        )


def _unavailable(problem: str, remedy: str) -> JobsUnavailable:
    return JobsUnavailable(problem, remedy=remedy, subject="the jobs' database")
