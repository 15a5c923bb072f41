"""Which begun jobs nobody works on any more: their worker is gone for good.

A worker shows that it lives by a number that it raises in the row of each job it has begun. The
others look at these numbers now and then, and give a job back to the queue when its number has
stood still for the length of the lease. No two clocks are compared: each process counts by its own
monotonic one, so a machine whose time is wrong or jumps takes nobody's job away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_LOOKS = 4
"""Looks in one lease: so many must in turn see the same number."""
_FIRST_BEAT = 10
"""Leases that a worker has for its first sign: one of a release that gives none may be at work."""


@dataclass(frozen=True)
class BegunJob:
    """A job as its row tells who works on it.

    Attributes:
        executor: the worker that took it from the queue.
        attempt: how often it has been taken from the queue; tells a worker's attempts apart.
        beat: the number that its worker raises; 0 before the first time.
    """

    job: str
    executor: str
    attempt: int
    beat: int


class Leases:
    """What one process has seen of the others' begun jobs.

    Args:
        lease_s: how long a number may stand still.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._still: dict[BegunJob, float] = {}
        self._looked: float | None = None

    @property
    def look_s(self) -> float:
        """The seconds from one look to the next."""
        return self._lease_s / _LOOKS

    def expired(self, begun: Iterable[BegunJob], now: float) -> tuple[BegunJob, ...]:
        """Those whose number has stood still for the length of the lease.

        Time in which this process did not look counts as one look's at the most: if it was
        suspended, the others may have been too.

        Args:
            begun: every job that another worker has begun, as it is now.
            now: seconds of a monotonic clock.
        """
        since = 0.0 if self._looked is None else min(now - self._looked, 2 * self.look_s)
        self._looked = now
        self._still = {
            job: self._still[job] + since if job in self._still else 0.0 for job in begun
        }
        return tuple(job for job, still in self._still.items() if still >= self._allowed_s(job))

    def _allowed_s(self, job: BegunJob) -> float:
        return self._lease_s * (1 if job.beat else _FIRST_BEAT)

    def forget(self) -> None:
        """Begin anew after a look that failed: workers cannot raise numbers without a database."""
        self._still = {}
        self._looked = None
