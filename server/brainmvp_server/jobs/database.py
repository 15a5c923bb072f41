"""The jobs' database: SQLite by default, PostgreSQL by URL; its tables are DBOS Transact's."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, WorkflowStatus
from dbos import _migration as dbos_migration
from dbos import error as dbos_error
from sqlalchemy import Engine, text
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

    Tables are only ever brought forward: in SQLite in one transaction, in PostgreSQL in one a step,
    under a lock, so that several processes may begin at once and one that dies is gone on from.

    Raises:
        JobsUnavailable: the database is damaged, not there, or of a newer release.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except SQLAlchemyError:
        raise _unavailable("its URL is not one", "Write it as postgresql://…") from None
    if parsed.drivername.startswith("sqlite"):
        _check_sqlite(Path(parsed.database or ""))
    with translated():
        DBOS.migrate(url)
    _check_not_newer(url)


def engine(url: str, wait_s: int = 5) -> Engine:
    """Connections to the database beside DBOS's own.

    Args:
        wait_s: seconds for a connection, or for another process' write.
    """
    parsed = sqlalchemy.make_url(url)
    if parsed.drivername.startswith("sqlite"):
        return sqlalchemy.create_engine(parsed, connect_args={"timeout": wait_s})
    return sqlalchemy.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        connect_args={"connect_timeout": wait_s},
        pool_pre_ping=True,
    )


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


def _check_not_newer(url: str) -> None:
    """Refuse a database that a newer release has written: what it says may mean something else.

    DBOS goes on with tables that are newer than its own, and leaves jobs of another version of
    ours where they are, so that they would wait for ever.
    """
    connections = engine(url)
    sqlite = connections.dialect.name == "sqlite"
    table = "application_versions" if sqlite else "dbos.application_versions"
    try:
        with translated():
            if sqlite:
                found, known = dbos_migration.get_sqlite_migration_versions(connections)
            else:
                found, known = dbos_migration.get_migration_versions(connections, "dbos", True)
            with connections.begin() as connection:
                names = connection.execute(
                    text(f"SELECT version_name FROM {table} WHERE application_name = :name"),
                    {"name": APPLICATION},
                ).scalars()
                newest = max((int(name) for name in names if name.isdigit()), default=0)
    finally:
        connections.dispose()
    if found > known or newest > int(VERSION):
        raise _unavailable(
            f"it was written by a newer release (tables {found}, jobs {newest}; this release knows "
            f"{known} and {VERSION})",
            "Start that release, or restore the copy that was made before the upgrade",
        )


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
