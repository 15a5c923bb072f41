"""How much one caller may ask for in a time: studies an hour, bytes a day.

What was taken is counted in slots, of which 60 make a window. A slot counts until a whole window
has passed since its end. So no window holds more than the limit, wherever it begins, and what was
taken is free again at the latest one slot after it could be.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

SLOTS = 60
"""Slots of a window."""


@dataclass(frozen=True)
class Quota:
    """What is counted, and over which time.

    Attributes:
        name: what the quota is called.
        unit: what is counted, in the words of the RateLimit-Policy header.
        window_s: seconds that the limit is for; a multiple of ``SLOTS``.
    """

    name: str
    unit: str
    window_s: int

    @property
    def slot_s(self) -> int:
        """Seconds of a slot."""
        return self.window_s // SLOTS

    def slot(self, now: float) -> int:
        """The slot of a time, in seconds since 1970."""
        return int(now // self.slot_s)

    def counts(self, slot: int, now: float) -> bool:
        """Whether what was taken in a slot is not free yet.

        One that lies ahead counts too, as a clock may have been set back; but no more than a
        window ahead, or a clock that was wrong once would lock callers out.
        """
        return abs(self.slot(now) - slot) <= SLOTS

    def frees_s(self, slot: int, now: float) -> int:
        """Seconds until what was taken in a slot is free."""
        return math.ceil((slot + 1 + SLOTS) * self.slot_s - now)


STUDIES = Quota("studies", "requests", 3600)
BYTES = Quota("bytes", "content-bytes", 86_400)


@dataclass(frozen=True)
class Ask:
    """What is asked of a quota.

    Attributes:
        limit: what the caller may take in a window.
        amount: what it asks for.
        least: the least of it that is of use; what is left is given where that is more.
    """

    quota: Quota
    limit: int
    amount: int
    least: int


@dataclass(frozen=True)
class Taken:
    """What became of an ask.

    Attributes:
        slot: where it was counted.
        amount: what was taken; 0 where any ask of the same request was refused.
        left: what the caller may take now.
        renews_s: seconds until it may take more.
        wait_s: seconds until there is room for the ask; 0 where there was.
    """

    ask: Ask
    slot: int
    amount: int
    left: int
    renews_s: int
    wait_s: int


class Ledger(Protocol):
    """Counts what callers take; safe to use from several threads."""

    def take(self, owner: str, asks: Sequence[Ask]) -> tuple[Taken, ...]:
        """Take all that is asked for, or, where there is no room for one ask, nothing.

        Raises:
            JobsUnavailable: the database that counts does not answer.
        """

    def give_back(self, owner: str, taken: Taken, amount: int) -> None:
        """Give back so much of what was taken.

        Raises:
            JobsUnavailable: the database that counts does not answer.
        """


Usage = Mapping[int, int]
"""What one caller has taken of one quota, by slot."""


def decided(asks: Sequence[Ask], usages: Sequence[Usage], now: float) -> tuple[Taken, ...]:
    """What becomes of the asks of one request.

    Args:
        usages: what was taken of each ask's quota before.
        now: seconds since 1970.
    """
    current = [
        {slot: used for slot, used in usage.items() if ask.quota.counts(slot, now)}
        for ask, usage in zip(asks, usages, strict=True)
    ]
    waits = [_wait_s(ask, usage, now) for ask, usage in zip(asks, current, strict=True)]
    found = []
    for ask, usage, wait in zip(asks, current, waits, strict=True):
        left = max(ask.limit - sum(usage.values()), 0)
        amount = 0 if any(waits) else min(ask.amount, left)
        slot = ask.quota.slot(now)
        first = min([*usage, slot])
        found.append(Taken(ask, slot, amount, left - amount, ask.quota.frees_s(first, now), wait))
    return tuple(found)


def _wait_s(ask: Ask, usage: Usage, now: float) -> int:
    """Seconds until the least that is asked for has room; 0 where it has."""
    used, wait = sum(usage.values()), 0
    if not ask.least:
        return 0
    for slot in sorted(usage):
        if used + ask.least <= ask.limit:
            break
        used -= usage[slot]
        wait = ask.quota.frees_s(slot, now)
    return wait


class MemoryLedger:
    """Counts for one process, until it ends.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._used: dict[tuple[str, str], dict[int, int]] = {}
        self._lock = threading.Lock()

    def take(self, owner: str, asks: Sequence[Ask]) -> tuple[Taken, ...]:
        """See :meth:`Ledger.take`."""
        with self._lock:
            now = self._clock()
            usages = [self._used.get((owner, ask.quota.name), {}) for ask in asks]
            taken = decided(asks, usages, now)
            for one, usage in zip(taken, usages, strict=True):
                quota = one.ask.quota
                kept = {slot: used for slot, used in usage.items() if quota.counts(slot, now)}
                kept[one.slot] = kept.get(one.slot, 0) + one.amount
                self._used[owner, quota.name] = kept
        return taken

    def give_back(self, owner: str, taken: Taken, amount: int) -> None:
        """See :meth:`Ledger.give_back`."""
        with self._lock:
            usage = self._used.get((owner, taken.ask.quota.name), {})
            if taken.slot in usage:
                usage[taken.slot] -= amount
