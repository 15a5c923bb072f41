"""Who may come in: how many requests and studies at once, and how much memory these may take."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmvp_models.errors import Overloaded, StudyTooLarge, TooManyRequests
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.runtime.allocator import return_freed


class Admission:
    """Counts requests, studies and their memory; refuses instead of letting work pile up.

    Args:
        requests: most predictions under way or waiting.
        per_owner: the same for one owner; None for no limit.
        studies: most studies that are worked on at once, whoever asked for them.
        memory: bytes that the studies being worked on may take together; by default half of what
            the machine, or the container, has.
    """

    def __init__(
        self,
        requests: int,
        per_owner: int | None = None,
        memory: int | None = None,
        studies: int = 4,
    ) -> None:
        self.budget = memory or machine_memory() // 2
        self._requests = requests
        self._per_owner = per_owner
        self._owners: Counter[str] = Counter()
        self._studies = studies
        self._at_work: Counter[bool] = Counter()  # by whether somebody waits for them
        self._waiting: deque[tuple[object, bool]] = deque()
        self._taken = 0
        self._sharing = 0
        self._shared = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def requests(self) -> int:
        """Requests under way or waiting."""
        return self._owners.total()

    @property
    def memory(self) -> int:
        """Bytes that the studies being worked on are counted as."""
        return self._taken

    @property
    def waiting(self) -> int:
        """Studies that wait for memory."""
        return len(self._queue)

    @contextmanager
    def request(self, owner: str = "") -> Iterator[None]:
        """One request from its first byte to its last; never waits.

        Raises:
            Overloaded: there are enough.
            TooManyRequests: this owner has enough.
        """
        with self._changed:
            if self._per_owner is not None and self._owners[owner] >= self._per_owner:
                raise TooManyRequests(
                    f"you have {self._per_owner} requests under way, as many as you may",
                    remedy="Send the next one when one is answered",
                )
            if self.requests >= self._requests:
                raise Overloaded(
                    "the service has as many requests as it takes",
                    remedy="Send it again after the seconds in Retry-After, or post a job",
                )
            self._owners[owner] += 1
        try:
            yield
        finally:
            with self._changed:
                self._owners[owner] -= 1
                if not self._owners[owner]:
                    del self._owners[owner]

    @property
    def studies(self) -> int:
        """Studies that are worked on now."""
        return self._at_work.total()

    @property
    def queued(self) -> int:
        """Studies that wait for a place."""
        return len(self._waiting)

    @contextmanager
    def place(self, cancel: CancelToken, *, interactive: bool = True) -> Iterator[None]:
        """A place among the studies that are worked on; waits until one is free, in turn.

        Studies that nobody waits for leave one place to the others, where there are several.

        Raises:
            BrainMVPError: ``cancel``'s reason, while waiting.
        """
        ticket = (object(), interactive)
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._next() is not ticket:
                    cancel.check()
                    self._changed.wait(0.2)
                self._at_work[interactive] += 1
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._at_work[interactive] -= 1
                self._changed.notify_all()

    def _next(self) -> tuple[object, bool] | None:
        """The study that may begin now: the one that came first of those that may."""
        if self.studies >= self._studies:
            return None
        full = self._at_work[False] >= max(1, self._studies - 1)
        return next((ticket for ticket in self._waiting if ticket[1] or not full), None)

    @contextmanager
    def memory_for(self, need: int, cancel: CancelToken, shared: int = 0) -> Iterator[None]:
        """Memory for one study, first come, first served; waits until there is enough.

        What the study freed goes back to the system before the next one may take its place.

        Args:
            shared: bytes that all studies that name them use in turn: counted once, as long as
                one of them is at work. Where there is no room for both, a study is at work alone.

        Raises:
            StudyTooLarge: there will never be enough.
            BrainMVPError: ``cancel``'s reason, while waiting.
        """
        self.check_size(need)
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                while self._queue[0] is not ticket or not self._fits(need, shared):
                    cancel.check()
                    self._changed.wait(0.2)
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
            self._taken += need + self._more(shared)
            self._shared += self._more(shared)
            self._sharing += bool(shared)
        try:
            yield
        finally:
            return_freed()
            with self._changed:
                self._taken -= need
                self._sharing -= bool(shared)
                if not self._sharing:
                    self._taken -= self._shared
                    self._shared = 0
                self._changed.notify_all()

    def _fits(self, need: int, shared: int) -> bool:
        return not self._taken or self._taken + need + self._more(shared) <= self.budget

    def _more(self, shared: int) -> int:
        """What of shared bytes is not counted yet."""
        return max(shared - self._shared, 0)

    def check_size(self, need: int) -> None:
        """Refuse a study that there will never be enough memory for.

        Raises:
            StudyTooLarge: it is one.
        """
        if need > self.budget:
            raise StudyTooLarge(
                f"it would need {need / 2**20:.0f} MiB of memory; the service may use "
                f"{self.budget / 2**20:.0f}",
                remedy="Crop the volumes to the head, or ask for a higher limit",
            )


def machine_memory() -> int:
    """Bytes of memory that this machine, or this container, has."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return physical
    return min(int(limit), physical) if limit.isdigit() else physical
