"""Bring one series of a head onto another: rigid, by mutual information, from several starts."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import numpy as np

from brainmvp_server.preparation.climb import climb
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.similarity import BothWays, OneWay
from brainmvp_server.preparation.working import Pyramid, WorkingImage

_TURNS = (-30.0, 0.0, 30.0)
"""Degrees about each axis that are looked at before anything is climbed."""
_STARTS = 4
"""The best of them, with the headers, are climbed from."""
_VOXELS = {6: 8_000, 4: 15_000, 2: 40_000}
"""Voxels that are compared, by millimetres."""
_LEAST_GAIN = 0.001
"""Of mutual information: a result that gains less than this on the headers is the headers'."""


@dataclass(frozen=True, eq=False)
class Registration:
    """How a series lies towards the reference.

    Attributes:
        to_moving: takes a point of the reference's world to the world of the series.
        start: which start won: ``headers``, ``moments``, ``centres`` or ``turned``.
        before, after: normalised mutual information by the headers, and with ``to_moving``.
        moved_mm: mean distance over the reference's head that it moves a point.
        seconds: what it took.
    """

    to_moving: RigidTransform
    start: str
    before: float
    after: float
    moved_mm: float
    seconds: float


def register(moving: Pyramid, reference: Pyramid) -> Registration:
    """Find where the head of ``reference`` lies in ``moving``.

    Never worse than the headers by the measure of both: where no start gains on them, they hold.
    """
    began = time.monotonic()
    middle = OneWay(reference.middle, moving.middle, _VOXELS[4])
    climbed = [
        (name, *climb(middle, guess, step=4.0, last=0.5))
        for name, guess in _starts(reference.coarse, moving.coarse)
    ]
    start, nearest, _ = max(climbed, key=lambda each: each[2])
    fine = BothWays(reference.fine, moving.fine, _VOXELS[2])
    found, after = climb(fine, nearest, step=1.0, last=0.05)
    before = fine.score(RigidTransform.identity())
    if after < before + _LEAST_GAIN:
        start, found, after = "headers", RigidTransform.identity(), before
    return Registration(
        to_moving=found,
        start=start,
        before=before,
        after=after,
        moved_mm=found.moved(reference.fine.head),
        seconds=time.monotonic() - began,
    )


def _starts(reference: WorkingImage, moving: WorkingImage) -> list[tuple[str, RigidTransform]]:
    """The headers, and the best by a look at the coarse images of shifts and turns."""
    none = np.zeros(3)
    centre = reference.centre_of_mass
    moments = moving.centre_of_mass - centre
    centres = moving.centre - reference.centre
    tried = [("centres", RigidTransform.of_rotation(none, centres, centre))]
    for shift in (none, moments):
        for turn in itertools.product(_TURNS, repeat=3):
            name = "turned" if any(turn) else "moments" if shift is moments else "headers"
            tried.append((name, RigidTransform.of_rotation(np.array(turn), shift, centre)))
    look = OneWay(reference, moving, _VOXELS[6])
    scored = sorted(tried, key=lambda each: look.score(each[1]), reverse=True)
    best = [each for each in scored if each[0] != "headers"]
    return [("headers", RigidTransform.identity()), *best[: _STARTS - 1]]
