"""The nearest best rigid transform: Powell's method with parabolas.

Powell 1964, as it needs no derivatives; a direction is never replaced, the way that a round went is
tried as one more.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.similarity import Similarity

Vector = NDArray[np.float64]
Place = tuple[Vector, float]
"""Where the climb is, and how high."""

_ROUNDS = 14
_STRIDES = 6
"""Steps in one direction at most, before the others have their turn."""


def climb(
    similarity: Similarity, start: RigidTransform, step: float, last: float
) -> tuple[RigidTransform, float]:
    """Climb from ``start`` to the nearest best transform.

    A degree counts as a millimetre, which is what it moves 57 mm from the centre.

    Args:
        step: mm, the first.
        last: mm; steps this short are not made.

    Returns:
        The transform and its score, no lower than that of ``start``.
    """
    centre = start.apply(similarity.centre)

    def moved(by: Vector) -> RigidTransform:
        return RigidTransform.of_rotation(by[:3], by[3:], centre).after(start)

    def height(by: Vector) -> float:
        return similarity.score(moved(by))

    place: Place = np.zeros(6), similarity.score(start)
    for _ in range(_ROUNDS):
        if step <= last:
            break
        before = place[0]
        for direction in np.eye(6):
            place = _along(height, place, direction * step)
        way = place[0] - before
        length = float(np.linalg.norm(way))
        if length > step / 2:
            place = _along(height, place, way / length * step)
        if np.linalg.norm(place[0] - before) < step:
            step /= 2
    return moved(place[0]), place[1]


def _along(height: Callable[[Vector], float], here: Place, step: Vector) -> Place:
    """The best place along a line, no lower than ``here``."""
    ahead = _at(height, here[0] + step)
    if ahead[1] <= here[1]:
        behind = _at(height, here[0] - step)
        if behind[1] <= here[1]:
            return _top(height, behind, here, ahead)
        step, ahead = -step, behind
    back = here
    for _ in range(_STRIDES):
        further = _at(height, ahead[0] + step)
        if further[1] <= ahead[1]:
            return _top(height, back, ahead, further)
        back, ahead = ahead, further
    return ahead


def _at(height: Callable[[Vector], float], where: Vector) -> Place:
    return where, height(where)


def _top(height: Callable[[Vector], float], left: Place, middle: Place, right: Place) -> Place:
    """The top of the parabola through three places, if it is higher than the one in the middle."""
    bend = left[1] + right[1] - 2 * middle[1]
    if bend >= 0:
        return middle
    share = (left[1] - right[1]) / bend / 2
    if abs(share) < 0.1:
        return middle
    top = _at(height, middle[0] + share * (right[0] - middle[0]))
    return top if top[1] > middle[1] else middle
