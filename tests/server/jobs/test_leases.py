"""Whose jobs are given to others, and whose are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from brainmvp_server.jobs.leases import BegunJob, Leases

LEASE_S = 40.0
JOB = BegunJob("job", executor="worker-1", attempt=1, beat=7)


def looks(leases: Leases, *seen: tuple[float, BegunJob]) -> list[bool]:
    """Whether the job has expired at each look."""
    return [leases.expired([job], now) == (job,) for now, job in seen]


def test_a_worker_that_shows_no_sign_for_a_lease_loses_its_job() -> None:
    seen = [(at, JOB) for at in (0.0, 10.0, 20.0, 30.0, 40.0)]
    assert looks(Leases(LEASE_S), *seen) == [False, False, False, False, True]


def test_a_worker_that_raises_its_number_keeps_its_job_for_ever() -> None:
    seen = [(10.0 * n, replace(JOB, beat=1 + n // 3)) for n in range(100)]
    assert not any(looks(Leases(LEASE_S), *seen))


@pytest.mark.parametrize("change", [{"attempt": 2}, {"executor": "worker-2", "attempt": 2}])
def test_another_attempt_has_a_lease_of_its_own(change: dict[str, int]) -> None:
    leases = Leases(LEASE_S)
    looks(leases, *[(at, JOB) for at in (0.0, 10.0, 20.0, 30.0)])
    assert looks(leases, (40.0, replace(JOB, **change)), (50.0, replace(JOB, **change))) == [
        False,
        False,
    ]


def test_a_process_that_slept_does_not_take_the_sleep_for_a_lease() -> None:
    """The whole machine may have been suspended, and the other worker with it."""
    leases = Leases(LEASE_S)
    assert looks(leases, (0.0, JOB), (10_000.0, JOB)) == [False, False]
    assert looks(leases, (10_010.0, replace(JOB, beat=8))) == [False]


def test_time_without_a_database_counts_for_nobody() -> None:
    leases = Leases(LEASE_S)
    looks(leases, *[(at, JOB) for at in (0.0, 10.0, 20.0, 30.0)])
    leases.forget()
    assert looks(leases, (500.0, JOB), (510.0, JOB)) == [False, False]


def test_a_worker_of_a_release_that_shows_no_signs_is_given_longer() -> None:
    silent = replace(JOB, beat=0)
    expired = looks(Leases(LEASE_S), *[(10.0 * n, silent) for n in range(41)])
    assert expired.index(True) == 40
