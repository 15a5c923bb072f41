"""A service of today goes on with the jobs of an earlier one, which was killed at work."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from brainmvp_models.errors import JobsUnavailable
from brainmvp_server.jobs import database
from brainmvp_server.jobs.files import JobFiles
from brainmvp_server.jobs.job import State
from brainmvp_server.jobs.store import JobStore
from brainmvp_server.jobs.usage import DatabaseLedger
from brainmvp_server.runtime.quotas import STUDIES, Ask
from kept_fixtures import until
from postgres import Postgres, fresh_postgres
from serving import serving

DATABASES = Path(__file__).parent / "databases"
MODELS = Path(__file__).parent / "fixtures" / "v0" / "models"
versions = pytest.mark.parametrize("version", sorted(path.name for path in DATABASES.iterdir()))


@pytest.fixture(scope="module")
def postgres(program: Callable[[str], Path]) -> Iterator[Postgres]:
    """One cluster for all; every test has a database of its own."""
    with fresh_postgres(program) as cluster:
        yield cluster


def created(cluster: Postgres, name: str, content: str = "") -> str:
    """The URL of a new database that holds what was dumped."""
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    url = cluster.url.removesuffix("postgres") + name
    lines = (line for line in content.splitlines() if not line.startswith("\\"))
    with psycopg.connect(url) as connection:
        if content:
            connection.execute("\n".join(lines))  # type: ignore[arg-type]
    return url


def dumped(version: str) -> str:
    path = DATABASES / version / "postgresql" / "jobs.sql.gz"
    return gzip.decompress(path.read_bytes()).decode()


@versions
def test_jobs_in_sqlite_are_there_with_their_results(version: str, tmp_path: Path) -> None:
    """That they go on is seen with PostgreSQL, and with SQLite in test_service.py."""
    past, storage = DATABASES / version / "sqlite", tmp_path / "storage"
    then = json.loads((past / "jobs.json").read_text())
    shutil.copytree(past / "storage", storage)
    url = database.sqlite_url(storage / "jobs.sqlite")
    database.prepare(url)
    store = JobStore(database.connect(url), JobFiles(str(storage)), timedelta(days=1))
    states = {name: store.job("", then[name]).state for name in ("done", "running", "waiting")}
    assert states == {"done": State.DONE, "running": State.RUNNING, "waiting": State.QUEUED}
    for name, digest in then["results"].items():
        result = b"".join(store.storage.pieces(then["done"], name))
        assert hashlib.sha256(result).hexdigest() == digest
    store.close()


@versions
def test_jobs_in_postgresql_are_there_and_go_on(
    version: str, tmp_path: Path, postgres: Postgres
) -> None:
    """What was done is given out byte for byte; what ran or waited is done."""
    past, secret = DATABASES / version / "postgresql", tmp_path / "url"
    secret.write_text(created(postgres, f"past_{version}", dumped(version)))
    words = ("--executor", "worker", "--jobs-database-file", secret)
    then = json.loads((past / "jobs.json").read_text())
    shutil.copytree(past / "storage", tmp_path / "storage")
    storage = ("--jobs-storage", tmp_path / "storage", "--jobs-keep-h", 10_000_000)
    with (
        serving(MODELS, tmp_path, *storage, *words) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):

        def job(name: str) -> dict[str, Any]:
            answer = http.get(f"/v1/jobs/{then[name]}")
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        assert job("done")["state"] == "done"
        for name, digest in then["results"].items():
            result = http.get(f"/v1/jobs/{then['done']}/results/{name}").content
            assert hashlib.sha256(result).hexdigest() == digest
        for name in ("running", "waiting"):
            until(lambda name=name: job(name)["state"] not in ("queued", "running"))  # type: ignore[misc]
            assert job(name)["state"] == "done", job(name)
            mask = http.get(f"/v1/jobs/{then[name]}/results/mask.nii.gz")
            assert mask.content[:2] == b"\x1f\x8b"


def test_a_newer_postgresql_database_is_refused_and_left_as_it_is(postgres: Postgres) -> None:
    url = created(postgres, "newer", dumped("v0"))
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE dbos.dbos_migrations SET version = version + 1")
    with pytest.raises(JobsUnavailable, match="written by a newer release"):
        database.prepare(url)
    with psycopg.connect(url) as connection:
        count = connection.execute("SELECT count(*) FROM dbos.workflow_status").fetchone()
        assert count == (3,)


def test_processes_that_begin_at_once_in_postgresql_share_tables_and_quotas(
    postgres: Postgres,
) -> None:
    url = created(postgres, "fresh")
    ledgers = [DatabaseLedger(url) for _ in range(3)]

    def take(number: int) -> int:
        if number < len(ledgers):
            database.prepare(url)
        (taken,) = ledgers[number % len(ledgers)].take("key:a", [Ask(STUDIES, 5, 1, 1)])
        return taken.amount

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, range(12))) == 5
    for ledger in ledgers:
        ledger.close()
