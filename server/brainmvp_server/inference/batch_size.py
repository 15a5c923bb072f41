"""How many windows a GPU takes at once: measured when a network is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from brainmvp_models.errors import EngineFailed

CANDIDATES = (1, 2, 4, 8, 16, 32)
WORTH_IT = 1.05
"""A larger batch makes a study that has just come wait longer: it must be 5 % faster."""


def candidates(most: int | None, fits: Callable[[int], bool]) -> tuple[int, ...]:
    """The batches to try: up to ``most``, and within memory; one window is always tried."""
    return tuple(
        windows
        for windows in CANDIDATES
        if windows == 1 or ((most is None or windows <= most) and fits(windows))
    )


def fastest_batch(seconds: Callable[[int], float], tried: Sequence[int]) -> int:
    """The batch that brings most windows through a second.

    Args:
        seconds: what a batch of so many windows takes.
        tried: batches, smallest first; those after one that fails are not tried.

    Raises:
        EngineFailed: not even the first one works.
    """
    best, rate = tried[0], tried[0] / seconds(tried[0])
    for windows in tried[1:]:
        try:
            now = windows / seconds(windows)
        except EngineFailed:  # most often the GPU's memory
            break
        if now > WORTH_IT * rate:
            best, rate = windows, now
    return best
