"""When the next study may start, and when any may be sent."""

from __future__ import annotations

import threading
import time


class RateLimit:
    """At most so many studies a minute, evenly; ``None`` is no limit."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Return when the next study may start, or as soon as ``stop`` is set."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
        if start > now:
            stop.wait(start - now)


class QuotaPause:
    """While a quota of the server is used up, nothing is sent: all studies of a run share it."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = threading.Lock()

    def begin(self, seconds: float) -> None:
        """The server has room again after so many seconds."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def wait(self, stop: threading.Event) -> None:
        """Return when the pause is over, or as soon as ``stop`` is set."""
        while (left := self._until - time.monotonic()) > 0 and not stop.is_set():
            stop.wait(left)
