"""Which failures may pass, and how long to wait before the next attempt.

No retry library is behind this; docs/architecture.md says why.
"""

from __future__ import annotations

import random
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

RETRYABLE_STATUSES = frozenset(
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


_QUOTA = "urn:brainmvp:problem:quota-exceeded"


class Unavailable(ClientError):
    """Something other than the server cannot answer now, and may later."""

    def __init__(
        self, problem: str, *, remedy: str, subject: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(problem, remedy=remedy, subject=subject)
        self.retry_after = retry_after


def is_retryable(error: ClientError) -> bool:
    """Whether the same request can succeed later."""
    if isinstance(error, (Refused, ServerFault)):
        return error.status in RETRYABLE_STATUSES
    # An answer that is cut short looks like one of no known kind.
    return isinstance(error, (ServerUnreachable, Unavailable, UnexpectedAnswer, Unwritable))


def quota_wait(error: ClientError) -> float | None:
    """The seconds until the server's quota has room, where the error is that it is used up."""
    if isinstance(error, ServerFault) and error.details.type == _QUOTA:
        return error.retry_after
    return None


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
