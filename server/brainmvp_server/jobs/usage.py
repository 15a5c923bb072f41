"""What callers have taken of their quotas, counted in the jobs' database for all its processes.

A table of ours, which is made when something is first counted: nobody who sets no quota has it. It
says nothing about jobs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection

from brainmvp_server.jobs import database
from brainmvp_server.runtime.quotas import Ask, Taken, decided

_COLUMNS = (
    "owner TEXT NOT NULL, quota TEXT NOT NULL, slot BIGINT NOT NULL, used BIGINT NOT NULL, "
    "PRIMARY KEY (owner, quota, slot)"
)
_MAKING = 7_204_177_356_103
"""The advisory lock under which PostgreSQL's table is made."""


class DatabaseLedger:
    """Counts in SQLite or PostgreSQL; what it has counted outlives the process.

    Each take is one transaction that no other of the same caller runs beside. The time is the
    database's own in PostgreSQL, so that the machines' clocks need not agree.

    Args:
        url: of the jobs' database, which is there.
        clock: seconds since 1970; None is the database's, in SQLite the machine's.
    """

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self._engine = database.engine(url)
        self._postgres = self._engine.dialect.name != "sqlite"
        self._clock = clock
        self._table = "brainmvp.usage" if self._postgres else "brainmvp_usage"
        if not self._postgres:
            _write_at_once(self._engine)
        self._making = threading.Lock()
        self._made = False

    def take(self, owner: str, asks: Sequence[Ask]) -> tuple[Taken, ...]:
        """See :meth:`Ledger.take`."""
        with self._changing(owner) as connection:
            now = self._now(connection)
            rows = connection.execute(
                text(f"SELECT quota, slot, used FROM {self._table} WHERE owner = :owner"),
                {"owner": owner},
            ).all()
            usages = [{s: used for name, s, used in rows if name == a.quota.name} for a in asks]
            taken = decided(asks, usages, now)
            for one, usage in zip(taken, usages, strict=True):
                over = [slot for slot in usage if not one.ask.quota.counts(slot, now)]
                self._forget(connection, owner, one, over)
                if one.amount:
                    self._add(connection, owner, one, one.amount)
        return taken

    def give_back(self, owner: str, taken: Taken, amount: int) -> None:
        """See :meth:`Ledger.give_back`."""
        with self._changing(owner) as connection:
            self._add(connection, owner, taken, -amount)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _changing(self, owner: str) -> Iterator[Connection]:
        """A transaction that no other of the same owner runs beside."""
        with database.translated():
            self._make()
            with self._engine.begin() as connection:
                if self._postgres:
                    connection.execute(
                        text("SELECT pg_advisory_xact_lock(hashtextextended(:owner, 0))"),
                        {"owner": f"brainmvp.usage {owner}"},
                    )
                yield connection

    def _make(self) -> None:
        """Make the table, if nobody has; several processes may begin at once."""
        with self._making:
            if self._made:
                return
            with self._engine.begin() as connection:
                if not self._postgres:
                    connection.execute(
                        text(f"CREATE TABLE IF NOT EXISTS {self._table} ({_COLUMNS})")
                    )
                elif connection.execute(text("SELECT to_regclass('brainmvp.usage')")).scalar() is (
                    None
                ):
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_MAKING})"))
                    connection.execute(text("CREATE SCHEMA IF NOT EXISTS brainmvp"))
                    connection.execute(
                        text(f"CREATE TABLE IF NOT EXISTS {self._table} ({_COLUMNS})")
                    )
            self._made = True

    def _now(self, connection: Connection) -> float:
        if self._clock is not None:
            return self._clock()
        if not self._postgres:
            return time.time()
        asked = text("SELECT extract(epoch FROM clock_timestamp())")
        return float(connection.execute(asked).scalar_one())

    def _add(self, connection: Connection, owner: str, taken: Taken, amount: int) -> None:
        connection.execute(
            text(
                f"INSERT INTO {self._table} AS there (owner, quota, slot, used) "
                "VALUES (:owner, :quota, :slot, :amount) ON CONFLICT (owner, quota, slot) "
                "DO UPDATE SET used = there.used + excluded.used"
            ),
            {
                "owner": owner,
                "quota": taken.ask.quota.name,
                "slot": taken.slot,
                "amount": amount,
            },
        )

    def _forget(
        self, connection: Connection, owner: str, taken: Taken, slots: Sequence[int]
    ) -> None:
        """Remove what counts no longer."""
        for slot in slots:
            connection.execute(
                text(
                    f"DELETE FROM {self._table} "
                    "WHERE owner = :owner AND quota = :quota AND slot = :slot"
                ),
                {"owner": owner, "quota": taken.ask.quota.name, "slot": slot},
            )


def _write_at_once(engine: Engine) -> None:
    """Have SQLite's transactions take the lock for writing when they begin."""

    @event.listens_for(engine, "connect")
    def leave_beginning_to_us(connection: DBAPIConnection, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
