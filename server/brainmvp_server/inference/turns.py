"""Whose window is next: fair between studies, quick for small ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

_PATIENT = 3
"""One turn in so many goes to whoever has waited so many, however many small studies come."""


class Waiting(Protocol):
    """What is asked of a study in the queue."""

    @property
    def left(self) -> int:
        """Windows that nobody has taken yet."""
        ...

    @property
    def windows(self) -> int:
        """How many it has in all."""
        ...

    @property
    def interactive(self) -> bool:
        """Whether somebody waits for it now."""
        ...

    turn: int
    """When it was served last, or came."""


def weight(study: Waiting, taken: int = 0) -> int:
    """What is left of a study times all of it: the light one first, and the mean slowdown is least.

    By what is left alone, a study of one window would wait for a large one's last ones. The rule is
    SPTP of Hyytiä, Aalto and Penttinen, "Minimizing slowdown in heterogeneous size-aware
    dispatching systems", SIGMETRICS 2012.

    Args:
        taken: windows to count as left though they were taken.
    """
    return (study.left + taken) * study.windows


Study = TypeVar("Study", bound=Waiting)


class Turns:
    """Takes turns between studies.

    Two turns in three go to an interactive study before a batch one, then to the lightest (see
    :func:`weight`): a small study behind a large one waits half its own length at most. Every third
    turn goes to the study that was served longest ago, if that was three turns ago or more, so that
    none starves.
    """

    def __init__(self) -> None:
        self._turn = 0

    def now(self) -> int:
        """The number of this turn; a study that comes takes it as its first."""
        return self._turn

    def pick(self, studies: Sequence[Study]) -> Study:
        """The study that gives the next window; there is at least one."""
        self._turn += 1
        chosen = min(studies, key=lambda study: study.turn)
        if self._turn % _PATIENT or self._turn - chosen.turn < _PATIENT:
            chosen = min(studies, key=lambda study: (not study.interactive, weight(study)))
        chosen.turn = self._turn
        return chosen
