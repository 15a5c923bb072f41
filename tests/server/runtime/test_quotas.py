"""Quotas: no window holds more than the limit, nothing is refused that has room, by two ledgers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_models.errors import JobsUnavailable
from brainmvp_server.jobs import database
from brainmvp_server.jobs.usage import DatabaseLedger
from brainmvp_server.runtime.quotas import BYTES, SLOTS, STUDIES, Ask, Ledger, MemoryLedger, Quota

MINUTE = Quota("minute", "requests", 60)
HOUR = Quota("hour", "content-bytes", 3600)
START = 1_800_000_000.3


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    now: float = START

    def __call__(self) -> float:
        return self.now


def take(ledger: Ledger, quota: Quota, limit: int, amount: int = 1, owner: str = "key:a") -> int:
    """Seconds to wait for; 0 where the amount was taken."""
    (taken,) = ledger.take(owner, [Ask(quota, limit, amount, amount)])
    assert taken.amount == (0 if taken.wait_s else amount)
    return taken.wait_s


MakeLedger = Callable[[Clock], Ledger]


@pytest.fixture(params=["memory", "sqlite"])
def ledger_of(request: pytest.FixtureRequest, tmp_path: Path) -> MakeLedger:
    """Makes a ledger; those in SQLite share one file."""
    url = database.sqlite_url(tmp_path / "jobs.sqlite")
    return MemoryLedger if request.param == "memory" else lambda clock: DatabaseLedger(url, clock)


asks = st.lists(
    st.tuples(st.floats(0, 90), st.integers(1, 6), st.booleans()), min_size=1, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(asks=asks, limit=st.integers(6, 12))
def test_no_window_holds_more_than_the_limit_and_what_has_room_is_not_refused(
    asks: list[tuple[float, int, bool]], limit: int
) -> None:
    clock, taken = Clock(), list[tuple[float, int]]()
    ledger = MemoryLedger(clock)

    def within(seconds: float) -> int:
        return sum(amount for moment, amount in taken if moment > clock.now - seconds)

    for later, amount, patient in asks:
        clock.now += later
        wait = take(ledger, MINUTE, limit, amount)
        if wait:
            assert within(MINUTE.window_s + MINUTE.slot_s) + amount > limit
            assert 0 < wait <= MINUTE.window_s + MINUTE.slot_s
        if wait and patient:
            moment = clock.now
            clock.now = moment + wait - 1
            assert take(ledger, MINUTE, limit, amount) > 0, "it need not have waited so long"
            clock.now = moment + wait
            wait = take(ledger, MINUTE, limit, amount)
            assert wait == 0, "it was told to come too early"
        if not wait:
            taken.append((clock.now, amount))
        assert within(MINUTE.window_s) <= limit


def test_an_ask_for_two_quotas_takes_both_or_neither(ledger_of: MakeLedger) -> None:
    ledger = ledger_of(Clock())
    one, large = Ask(MINUTE, 5, 1, 1), Ask(HOUR, 100, 80, 80)
    assert [t.amount for t in ledger.take("key:a", [one, large])] == [1, 80]
    refused = ledger.take("key:a", [one, large])
    assert [(t.amount, t.left, bool(t.wait_s)) for t in refused] == [(0, 4, False), (0, 20, True)]
    assert take(ledger, MINUTE, 5, 4) == 0
    assert take(ledger, HOUR, 100, 20) == 0


def test_what_is_left_is_given_where_the_amount_is_not_known(ledger_of: MakeLedger) -> None:
    ledger = ledger_of(Clock())
    assert take(ledger, HOUR, 100, 70) == 0
    (rest,) = ledger.take("key:a", [Ask(HOUR, 100, 1000, 1)])
    assert (rest.amount, rest.left) == (30, 0)
    ledger.give_back("key:a", rest, 25)
    assert take(ledger, HOUR, 100, 26) > 0
    assert take(ledger, HOUR, 100, 25) == 0


def test_no_caller_takes_from_another(ledger_of: MakeLedger) -> None:
    ledger = ledger_of(Clock())
    assert take(ledger, MINUTE, 1) == 0
    assert take(ledger, MINUTE, 1, owner="token:a") == 0
    assert take(ledger, MINUTE, 1) > 0


@pytest.mark.parametrize("back", [1, 30, 3600])
def test_a_clock_that_is_set_back_neither_frees_nor_locks_out(
    ledger_of: MakeLedger, back: float
) -> None:
    clock = Clock()
    ledger = ledger_of(clock)
    assert take(ledger, MINUTE, 1) == 0
    clock.now -= back
    wait = take(ledger, MINUTE, 1)
    assert wait <= 2 * (MINUTE.window_s + MINUTE.slot_s)
    assert (wait > 0) is (back <= MINUTE.window_s)


def test_a_limit_that_is_lowered_holds_at_once_and_a_request_without_a_body_needs_no_bytes(
    ledger_of: MakeLedger,
) -> None:
    ledger = ledger_of(Clock())
    assert take(ledger, MINUTE, 10, 8) == 0
    assert take(ledger, MINUTE, 5) > 0
    assert take(ledger, MINUTE, 5, 0) == 0


def test_the_quotas_have_whole_slots() -> None:
    assert [quota.window_s % SLOTS for quota in (STUDIES, BYTES)] == [0, 0]


def test_a_new_process_goes_on_with_the_count(tmp_path: Path) -> None:
    url, clock = database.sqlite_url(tmp_path / "jobs.sqlite"), Clock()
    first = DatabaseLedger(url, clock)
    assert take(first, MINUTE, 2, 2) == 0
    first.close()
    again = DatabaseLedger(url, clock)
    assert take(again, MINUTE, 2) > 0
    clock.now += MINUTE.window_s + MINUTE.slot_s
    assert take(again, MINUTE, 2) == 0


def test_processes_that_take_at_once_take_the_limit_together(tmp_path: Path) -> None:
    url = database.sqlite_url(tmp_path / "jobs.sqlite")
    ledgers = [DatabaseLedger(url, Clock()) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        waits = list(pool.map(lambda n: take(ledgers[n % 4], MINUTE, 10), range(24)))
    assert waits.count(0) == 10


def test_a_database_that_is_not_one_is_said_to_be_away(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite"
    file.write_bytes(b"not a database, but longer than its header" * 9)
    with pytest.raises(JobsUnavailable):
        DatabaseLedger(database.sqlite_url(file), Clock()).take("a", [Ask(MINUTE, 1, 1, 1)])
