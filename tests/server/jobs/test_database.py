"""The jobs' database at a start: brought forward once, whoever begins, and never a newer one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from brainmvp_models.errors import JobsUnavailable
from brainmvp_server.jobs import database

PAST = Path(__file__).parents[2] / "compatibility" / "fixtures" / "v0" / "jobs" / "jobs.sqlite"
"""What a release before has written."""


@pytest.fixture
def past(tmp_path: Path) -> Path:
    return Path(shutil.copy(PAST, tmp_path / "jobs.sqlite"))


def states(file: Path) -> dict[str, str]:
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT workflow_uuid, status FROM workflow_status")
        return dict(rows.fetchall())


def test_jobs_of_a_release_before_are_there_after_its_database_is_brought_forward(
    past: Path,
) -> None:
    before = states(past)
    database.prepare(database.sqlite_url(past))
    assert states(past) == before and len(before) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE dbos_migrations SET version = version + 1", "tables"),
        (
            "INSERT INTO application_versions SELECT 'x', '2', version_timestamp, created_at, "
            "application_name FROM application_versions",
            "jobs 2",
        ),
    ],
)
def test_a_database_of_a_newer_release_is_refused_and_left_as_it_is(
    past: Path, change: str, said: str
) -> None:
    with closing(sqlite3.connect(past)) as connection:
        connection.execute(change)
        connection.commit()
    before = states(past)
    with pytest.raises(JobsUnavailable, match="written by a newer release") as refused:
        database.prepare(database.sqlite_url(past))
    assert said in refused.value.problem and "restore the copy" in refused.value.remedy
    assert states(past) == before


def test_processes_that_begin_at_once_on_an_empty_database_all_begin(tmp_path: Path) -> None:
    url = database.sqlite_url(tmp_path / "jobs.sqlite")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: database.prepare(url), range(3)))
    assert states(tmp_path / "jobs.sqlite") == {}


def test_a_bringing_forward_that_is_cut_off_leaves_the_database_as_it_was(past: Path) -> None:
    with closing(sqlite3.connect(past)) as connection:
        # A step before, so that one is due; it fails, as what it makes is there.
        connection.execute("UPDATE dbos_migrations SET version = 120")
        connection.commit()
        names = json.dumps(sorted(connection.execute("SELECT name FROM sqlite_master").fetchall()))
    with pytest.raises(JobsUnavailable):
        database.prepare(database.sqlite_url(past))
    with closing(sqlite3.connect(past)) as connection:
        assert connection.execute("SELECT version FROM dbos_migrations").fetchall() == [(120,)]
        now = json.dumps(sorted(connection.execute("SELECT name FROM sqlite_master").fetchall()))
    assert now == names
