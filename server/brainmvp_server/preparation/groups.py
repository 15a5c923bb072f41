"""Series of one study, told apart by which of them fit one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from brainmvp_server.imaging.volume import Volume


def groups_of(
    series: Sequence[Volume], fit: Callable[[Volume, Volume], bool]
) -> list[list[Volume]]:
    """Series that fit one another, directly or by others between them; the largest group first.

    Args:
        fit: whether the second fits the first; asked once for each where all fit the first.
    """
    groups: list[list[Volume]] = []
    for one in series:
        joined = [group for group in groups if any(fit(other, one) for other in group)]
        rest = [group for group in groups if not any(group is each for each in joined)]
        groups = [*rest, [*chain(*joined), one]]
    return sorted(groups, key=len, reverse=True)


def listed(series: Sequence[Volume]) -> str:
    """The modalities' names as words: ``t1, t1c and t2``."""
    *most, last = (volume.modality.value for volume in series)
    return f"{', '.join(most)} and {last}" if most else last
