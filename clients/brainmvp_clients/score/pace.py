"""When to send the next study, and when to try again."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus

from brainmvp_clients.errors import (
    ClientError,
    Refused,
    ServerFault,
    ServerUnreachable,
    UnexpectedAnswer,
    Unwritable,
)

PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
        HTTPStatus.INSUFFICIENT_STORAGE,
    }
)
"""What a service says that can do the same request later."""


class Unavailable(ClientError):
    """Something other than the server cannot answer now, and may later."""

    def __init__(
        self, problem: str, *, remedy: str, subject: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(problem, remedy=remedy, subject=subject)
        self.retry_after = retry_after


def may_pass(error: ClientError) -> bool:
    """Whether the same request can succeed later."""
    if isinstance(error, (Refused, ServerFault)):
        return error.status in PASSING
    # An answer that is cut short looks like one of no known kind.
    return isinstance(error, (ServerUnreachable, Unavailable, UnexpectedAnswer, Unwritable))


@dataclass(frozen=True)
class Backoff:
    """Waits that double from ``first`` to ``longest`` seconds, spread by chance (full jitter)."""

    attempts: int = 6
    first: float = 1.0
    longest: float = 120.0

    def wait(self, attempt: int, error: ClientError) -> float:
        """Seconds to wait after the ``attempt``-th failure: never less than the server asks for."""
        ceiling = min(self.longest, self.first * 2.0 ** (attempt - 1))
        asked = error.retry_after if isinstance(error, (ServerFault, Unavailable)) else None
        return (asked or 0.0) + random.uniform(ceiling / 2, ceiling)


class Rate:
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
