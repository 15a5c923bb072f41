"""When the next study may start."""

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
