"""Who makes a request, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Scope(str, Enum):
    """What a key or a token is good for."""

    PREDICT = "predict"
    JOBS = "jobs"
    ADMIN = "admin"


class Door(str, Enum):
    """A call that needs no scope."""

    OPEN = "open"
    """Anyone may call."""
    KNOWN = "known"
    """Whoever shows a valid key or token may call."""


Need = Scope | Door


@dataclass(frozen=True)
class OwnLimits:
    """What one key may ask for in a time; None is what the service's settings say, 0 no limit."""

    studies_per_hour: int | None = None
    mb_per_day: int | None = None


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Attributes:
        name: the key's name, or the token's subject.
        scopes: what they may do; ``admin`` may do everything.
        owner: what their jobs are filed under; no key shares it with a token.
        limits: the key's own.
    """

    name: str
    scopes: frozenset[Scope]
    owner: str = ""
    limits: OwnLimits = OwnLimits()

    def may(self, need: Need) -> bool:
        """Is the need met?"""
        return isinstance(need, Door) or bool(self.scopes & {need, Scope.ADMIN})


ANYONE = Caller("anyone", frozenset(Scope))
"""The caller where authentication is off."""
