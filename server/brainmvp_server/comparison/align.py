"""The two times in one world: rigid, by the registration that prepares raw studies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import RegistrationFailed
from brainmvp_models.modality import Modality
from brainmvp_server.comparison.visit import Visit
from brainmvp_server.imaging.study import same_grid
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.belonging import check_belongs
from brainmvp_server.preparation.reference import REFERENCES
from brainmvp_server.preparation.register import Registration, register
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.working import Pyramid

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Alignment:
    """How the two times lie to each other.

    Attributes:
        to_before: takes a point of the later mask's world to the earlier one's, R-A-S mm.
        series: those that were brought together, the earlier first.
        found: what the registration says; None where both are one file, in one place.
    """

    to_before: RigidTransform
    series: tuple[Modality, Modality]
    found: Registration | None

    @property
    def one_contrast(self) -> bool:
        """Whether both series are of one contrast."""
        return self.series[0] is self.series[1]


def align(
    before: Visit, after: Visit, brains: tuple[Mask | None, Mask | None] = (None, None)
) -> Alignment:
    """Bring the two times together; nothing is bent.

    The series that the masks were drawn on are compared where they are of one contrast; else the
    first contrast that both times have.

    Args:
        brains: (i, j, k) of the two series drawn on, the earlier first, where they are known: what
            lies outside, such as a jaw, does not count.

    Raises:
        RegistrationFailed: they do not show the same head.
    """
    one, other = _pair(before, after)
    pair = (one.modality, other.modality)
    if one.digest == other.digest:
        between, found = RigidTransform.identity(), None
    else:
        masks = [
            brain if series is visit.shown else None
            for series, visit, brain in zip((one, other), (before, after), brains, strict=True)
        ]
        found = register(Pyramid(one, masks[0]), Pyramid(other, masks[1]))
        _check_one_head(one, other, found)
        between = found.to_moving
    to_before = _within(before, one).inverse.after(between).after(_within(after, other))
    return Alignment(to_before, pair, found)


def _check_one_head(one: Volume, other: Volume, found: Registration) -> None:
    """Refuse two times that do not show the same head.

    Raises:
        RegistrationFailed: the match is not sharp enough, or too little of the head is shared.
    """
    try:
        check_belongs(one, other, found.to_moving)
    except RegistrationFailed as error:
        raise RegistrationFailed(
            f"the two studies cannot be aligned: of {one.modality} before and {other.modality} "
            f"after, {error.problem}",
            remedy="See that both are of one patient, upright, not mirrored and of the whole head",
        ) from None


def _pair(before: Visit, after: Visit) -> tuple[Volume, Volume]:
    """The series to compare: of one contrast if both times have one in common."""
    for modality in (after.drawn_on, before.drawn_on, *REFERENCES, *Modality):
        one, other = before.of(modality), after.of(modality)
        if one is not None and other is not None:
            return one, other
    return before.shown, after.shown


def _within(visit: Visit, series: Volume) -> RigidTransform:
    """Takes a point of the mask's world to that of another series of the same time.

    Raises:
        RegistrationFailed: it does not show the same head.
    """
    shown = visit.shown
    frames = {shown.frame_of_reference, series.frame_of_reference}
    if series is shown or same_grid(shown.grid, series.grid) or (len(frames) == 1 and all(frames)):
        return RigidTransform.identity()
    found = register(Pyramid(series), Pyramid(shown))
    check_belongs(series, shown, found.to_moving)
    return found.to_moving
