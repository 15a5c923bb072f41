"""A figure at two times: how it changed, within which limits, and what a site calls that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class Status(str, Enum):
    """What became of a lesion or a structure."""

    NEW = "new"
    GONE = "gone"
    GROWN = "grown"
    SHRUNK = "shrunk"
    STABLE = "stable"
    UNDECIDED = "not decidable"
    ABSENT = "absent"


@dataclass(frozen=True)
class Thresholds:
    """From which change on something is called grown or shrunk, in percent of what it was.

    The defaults are those of RANO 2.0 (J Clin Oncol 2023; 41:5187) for progression.
    """

    volume_percent: float = 40.0
    product_percent: float = 25.0


@dataclass(frozen=True)
class Figure:
    """A volume or a product at one time.

    Attributes:
        half_width: of its 95 % interval.
    """

    value: float
    half_width: float = 0.0


@dataclass(frozen=True)
class Change:
    """A figure at two times; values of mL or mm².

    Attributes:
        percent: of what it was; None where it was nothing.
        low, high: the 95 % interval of the difference.
    """

    before: float
    after: float
    difference: float
    percent: float | None
    low: float
    high: float
    status: Status

    @classmethod
    def of(cls, before: Figure, after: Figure, threshold: float, *, seen: bool) -> Change:
        """The change between two independent figures.

        New and gone is what is there at one time only. Grown is what has grown by the threshold
        or more at both ends of the interval, shrunk likewise, stable what has done neither at
        both; what lies across a threshold is not decidable.

        Args:
            threshold: in percent of ``before``.
            seen: whether something that is there at all is there for sure, as where somebody drew
                it; else it must be larger than its half-width.
        """
        difference = after.value - before.value
        width = float(np.hypot(before.half_width, after.half_width))
        low, high = difference - width, difference + width
        percent = 100 * difference / before.value if before.value else None
        sure = seen or width < abs(difference)
        bound = threshold / 100 * before.value
        if not before.value and not after.value:
            status = Status.ABSENT
        elif not before.value:
            status = Status.NEW if sure else Status.UNDECIDED
        elif not after.value:
            status = Status.GONE if sure else Status.UNDECIDED
        elif low >= bound:
            status = Status.GROWN
        elif high <= -bound:
            status = Status.SHRUNK
        else:
            status = Status.STABLE if -bound < low and high < bound else Status.UNDECIDED
        return cls(before.value, after.value, difference, percent, low, high, status)
